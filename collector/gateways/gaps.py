"""What we did not get: the places where a source cut, hid or left out content, and how an event states them.

``content_gaps`` is a JSON list with one object per place, ``{"pointer", "state", "limit"?, "original_size"?, …}``.
Pointers (RFC 6901) begin at the event: ``/content/…`` lies in its content, ``/extras/…`` in its extras.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from collector.json_units import encode_content
from schemas.metadata import CONTENT_STATES, Metadata


@dataclass(frozen=True, slots=True)
class Gap:
    """One place with a state other than ``full`` (:data:`schemas.metadata.CONTENT_STATES`).

    ``limit`` and ``original_size`` count bytes or characters, as the source does. ``note`` says why, in a few words.
    """

    pointer: str
    state: str
    limit: int | None = None
    original_size: int | None = None
    original_sha256: str = ""
    ref: str = ""
    note: str = ""


_RANK = {state: rank for rank, state in enumerate(CONTENT_STATES)}


def state_gaps(metadata: Metadata, gaps: Sequence[Gap]) -> None:
    """Write ``content_state`` and ``content_gaps``: the worst state, and every place that is not ``full``.

    Gaps are added to those that the metadata states already.
    """
    if not gaps:
        metadata.setdefault("content_state", "full")
        return
    known = json.loads(metadata.get("content_gaps") or "[]")
    metadata["content_gaps"] = encode_content(known + [_as_json(gap) for gap in gaps]).decode()
    states = [metadata.get("content_state") or "full", *(gap.state for gap in gaps)]
    metadata["content_state"] = max(states, key=lambda state: _RANK.get(state, 0))


def note_gaps(metadata: Metadata, gaps: Sequence[Gap]) -> None:
    """Add places to ``content_gaps`` that leave the state of the content as it is: what we took out of extras."""
    state = metadata.get("content_state", "")
    state_gaps(metadata, gaps)
    metadata["content_state"] = state


def pointer(*steps: str | int) -> str:
    """A JSON pointer: ``pointer("content", 0, "a/b")`` is ``/content/0/a~1b``."""
    place = ""
    for step in steps:
        text = str(step)
        if "~" in text or "/" in text:
            text = text.replace("~", "~0").replace("/", "~1")
        place += "/" + text
    return place


def _as_json(gap: Gap) -> dict[str, Any]:
    stated = {"pointer": gap.pointer, "state": gap.state}
    optional = {
        "limit": gap.limit,
        "original_size": gap.original_size,
        "original_sha256": gap.original_sha256,
        "ref": gap.ref,
        "note": gap.note,
    }
    return stated | {name: value for name, value in optional.items() if value not in (None, "")}
