"""The README of a bundle, for whoever has to decide what it is worth. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from signer.policy import Policy

_TEXT = """\
EVIDENCE BUNDLE
{deployment}

This file holds {count} of an audit log of an organisation's use of artificial intelligence: what was asked,
what was answered, which tools ran. It also holds what is needed to check, without the organisation's help and
without a network, that these records are what was logged at the time, unchanged.

What was asked for    {selection}
Made                  {created} by {operator}
Parts                 {parts}


HOW TO VERIFY IT

In a browser: open verify.html and choose this ZIP file. Nothing leaves your computer.

With Python 3.9 or later and the package "cryptography":

    python3 verify.py {file}

Both do the same checks and end with a verdict. To depend on nobody who made this file, do two things more:

1. Take the verifier from somewhere else than this file, or have somebody read it: it is one short file.
2. Get the policy (whose signatures count) from somebody you trust, by another way, and give it to the verifier:

    python3 verify.py --policy THE_POLICY_YOU_GOT {file}

   The policy in this file is only what its maker says. Its keys: compare them, by telephone for example, with those
   that the organisation has published.


WHAT A SUCCESSFUL VERIFICATION PROVES

- Each part shown is, byte for byte, what was committed to when the record was received: its fingerprint, made with
  a secret random number (the "salt") that is in this file, stands in the log's entry.
- Each entry is in a log that the organisation signed. The log only ever grows; changing one entry changes its root,
  and every signature after it would fail.
{outside}

WHAT IT CANNOT PROVE

- That everything that happened was logged. What never reached the log has left no trace in it.
- That these are all records on the matter: {selection} is what was chosen.
- That what a record says is true. It proves what was recorded, not what was meant.


WORDS

- ERASED, SEALED: a part that is not here. ERASED: it was destroyed, which the log shows, as a rule or an order
  demanded. SEALED: its key was not at hand when this file was made. The proofs of the record hold all the same.
- Address: where a record lies, such as events/0@17: the topic, the shard, the number.
- Checkpoint, anchor, witness, time-stamping authority: https://c2sp.org and RFC 3161 define the formats; every
  file here is in a public format that other programs read.
"""

_OUTSIDE = """\
- Each record existed, as it is here, at the time shown beside it: {demands} saw the log then, and their
  statements are in this file. The organisation controls none of them.
"""
_UNVOUCHED = """\
- {count}: nobody outside the organisation has vouched yet. For them, the organisation's own
  signature is all there is.
"""


def readme(policy: Policy, about: Mapping[str, Any], records: int, unvouched: int, parts: Mapping[str, int]) -> str:
    """The text.

    Args:
        policy: that goes with the bundle.
        about: as in the manifest.
        records, unvouched: how many there are, and how many of them nobody vouches for.
        parts: count by status.
    """
    outside = "" if unvouched == records else _OUTSIDE.format(demands=policy.demands())
    if unvouched:
        whose = "For no record here" if unvouched == records else f"For {_records(unvouched)} of these"
        outside += _UNVOUCHED.format(count=whose)
    return _TEXT.format(
        deployment=policy.trust.deployment,
        count=_records(records),
        selection=about.get("selection", "not said"),
        created=about.get("created", "at a time not said"),
        operator=about.get("operator", "somebody"),
        parts=", ".join(f"{count:,} {status}" for status, count in sorted(parts.items())) or "none",
        outside=outside,
        file=about.get("file", "THIS_FILE.zip"),
    )


def _records(count: int) -> str:
    return f"{count:,} record" if count == 1 else f"{count:,} records"
