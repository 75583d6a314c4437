"""What tokens of people may do with matters and holds."""

from __future__ import annotations

HOLD, APPROVE, EARLY, SEALED = "hold", "approve", "early", "sealed"
"""Place holds and ask for their release; approve what somebody else asked for; ask for or approve the early end of a
delay; see sealed matters that others opened."""

PERSON_SCOPES = (HOLD, APPROVE, EARLY, SEALED)
