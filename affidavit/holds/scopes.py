"""What tokens of people may do with matters and holds."""

from __future__ import annotations

HOLD, APPROVE, EARLY, SEALED, POLICY = "hold", "approve", "early", "sealed", "policy"
"""Place holds and ask for their release; approve what somebody else asked for; ask for or approve the early end of a
delay; see sealed matters that others opened; apply retention policies."""

PERSON_SCOPES = (HOLD, APPROVE, EARLY, SEALED, POLICY)
