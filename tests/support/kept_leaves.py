"""The rule that a format drops nothing: every leaf of a source record is in some event made of it.

    assert_kept(record, drafts)

Sources repeat values (0, "", true), so records for this check are best made of values that occur once:
:func:`distinct` puts a different text or number in the place of every leaf.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collector.gateways import Draft
from collector.gateways.times import from_text


def assert_kept(record: object, drafts: Sequence[Draft], dropped: Sequence[str] = ()) -> None:
    """Every leaf but null and empty text is in the metadata, content or extras of a draft; ``dropped`` are pointers of
    leaves that may be missing."""
    kept = {text for draft in drafts for part in (draft.metadata, draft.content) for text in _spellings(part)}
    lost = [at for at, leaf in leaves(record) if not kept.intersection(_as_kept(leaf)) and at not in dropped]
    assert not lost, f"lost: {lost}"


def leaves(node: object, at: str = "") -> Iterator[tuple[str, Any]]:
    """Pointer and value of every scalar that says something."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from leaves(value, f"{at}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, f"{at}/{index}")
    elif node not in (None, ""):
        yield at, node


def distinct(record: Any, keep: Sequence[str] = ()) -> Any:
    """A copy of ``record`` in which each leaf has a value of its own, of the type it had; those at ``keep`` stay."""
    numbers = itertools.count(10_007, 13)

    def walk(node: Any, at: str) -> Any:
        if isinstance(node, dict):
            return {key: walk(value, f"{at}/{key}") for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value, f"{at}/{index}") for index, value in enumerate(node)]
        if at in keep or node is None or isinstance(node, bool):
            return node
        number = next(numbers)
        if isinstance(node, str):
            return f"leaf {number} of {at}"
        return number if isinstance(node, int) else number + 0.25

    return walk(record, "")


def _as_kept(leaf: Any) -> set[str]:
    """A leaf as it may be kept: itself, or, if it may be a time, in microseconds."""
    spelt = {_spell(leaf)}
    if isinstance(leaf, int | float) and not isinstance(leaf, bool) and abs(leaf) < 1e12:
        spelt.add(_spell(round(leaf * 1_000_000)))
    moment = from_text(leaf) if isinstance(leaf, str) else None
    return spelt | {_spell(moment.micros)} if moment else spelt


def _spellings(value: object) -> Iterator[str]:
    """Every scalar within, as text; JSON inside of text is opened as well."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _spellings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _spellings(inner)
    else:
        yield _spell(value)
        if isinstance(value, str):
            try:
                opened = json.loads(value)
            except ValueError:
                return
            if opened != value:
                yield from _spellings(opened)


def _spell(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{type(value).__name__ if isinstance(value, bool) else ''}{value}"
