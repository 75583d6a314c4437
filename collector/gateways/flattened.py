"""Flattened attributes, ``llm.input_messages.0.message.role``, back into the lists and objects they stand for.

Segments between dots that are all digits are list indices. They are sorted as numbers (10 after 9); a list with gaps
is closed up, because the index says order, not place.
"""

from __future__ import annotations

from typing import Any

_MAX_DEPTH = 32
"""Deeper names are no flattened messages; they stay attributes."""


def take_flattened(attributes: dict[str, Any], prefix: str) -> Any:
    """Take every attribute below ``prefix`` (which ends in a dot) out, as one nested value; ``None`` without any.

    Where a name is both a value and the beginning of others (``a.0`` and ``a.0.role``), the value becomes the member
    ``""`` of the object.
    """
    found = [key for key in attributes if key.startswith(prefix) and key.count(".") < _MAX_DEPTH]
    if not found:
        return None
    tree: dict[str, Any] = {}
    for key in found:
        _put(tree, key[len(prefix) :].split("."), attributes.pop(key))
    return _settled(tree)


class _Leaf:
    """A value at the end of a name, apart from a branch of the tree that happens to be a mapping."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _put(tree: dict[str, Any], steps: list[str], value: Any) -> None:
    *branches, last = steps
    for step in branches:
        inner = tree.setdefault(step, {})
        if isinstance(inner, _Leaf):
            tree[step] = inner = {"": inner}
        tree = inner
    if isinstance(tree.get(last), dict):
        tree[last][""] = _Leaf(value)
    else:
        tree[last] = _Leaf(value)


def _settled(node: Any) -> Any:
    if isinstance(node, _Leaf):
        return node.value
    if node and all(step.isascii() and step.isdigit() for step in node):
        return [_settled(node[step]) for step in sorted(node, key=lambda step: (len(step.lstrip("0")), step))]
    return {step: _settled(inner) for step, inner in node.items()}
