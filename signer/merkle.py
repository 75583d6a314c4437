"""Merkle trees of RFC 6962 §2.1 (RFC 9162 §2.1) over SHA-256: roots, proofs, and their verification. Pure.

A subtree is named by the half-open range of leaves under it. Proofs are lists of ranges first and hashes second, so
whoever holds the tree (leaves in memory, tiles in a store) only has to answer "what is the hash of this range".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from schemas.errors import MalformedInput, VerificationError

HASH_BYTES = 32

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the tree without leaves."""

LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"
"""They keep a leaf from being read as a node (second preimage)."""

Range = tuple[int, int]
"""Leaves ``[start, end)``."""

_sha256 = hashlib.sha256
_LEAF_STATE = _sha256(LEAF_PREFIX)
_NODE_STATE = _sha256(NODE_PREFIX)
"""Hash states to copy: copying one is faster than making one, and saves joining the prefix to each input."""


def leaf(data: bytes) -> bytes:
    """Hash of a leaf that holds ``data``."""
    return _sha256(LEAF_PREFIX + data).digest()


def leaves(entries: Sequence[bytes]) -> list[bytes]:
    """:func:`leaf` of each entry."""
    hashes: list[bytes] = []
    append, copy = hashes.append, _LEAF_STATE.copy
    for entry in entries:
        state = copy()
        state.update(entry)
        append(state.digest())
    return hashes


def node(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return _sha256(NODE_PREFIX + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """MTH over leaf hashes, or over the roots of equal full subtrees of which only the last may be smaller.

    An unpaired node moves up unchanged; this gives the same tree as the RFC's split at the largest power of two.
    """
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    copy = _NODE_STATE.copy
    while len(level) > 1:
        above: list[bytes] = []
        append = above.append
        pairs = iter(level)
        for left, right in zip(pairs, pairs, strict=False):
            state = copy()
            state.update(left + right)
            append(state.digest())
        if len(level) & 1:
            append(level[-1])
        level = above
    return level[0]


class Frontier:
    """The roots of the full subtrees of a growing tree, largest first: all that appending needs. O(log n) hashes."""

    def __init__(self) -> None:
        self.size = 0
        self._stack: list[bytes] = []

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf."""
        size, top = self.size, leaf_hash
        while size & 1:
            top = node(self._stack.pop(), top)
            size >>= 1
        self._stack.append(top)
        self.size += 1

    def append_subtree(self, root: bytes, width: int) -> None:
        """Add ``width`` leaves by the root over them. ``width`` is a power of two that divides the present size."""
        if width < 1 or width & (width - 1) or self.size % width:
            raise MalformedInput(f"got a subtree of {width} leaves at size {self.size}, expected an aligned power of 2")
        size, top = self.size // width, root
        while size & 1:
            top = node(self._stack.pop(), top)
            size >>= 1
        self._stack.append(top)
        self.size += width

    def root(self, tail: Sequence[bytes] = ()) -> bytes:
        """Root of the tree, with the leaf hashes ``tail`` after it when given (they are not added).

        ``tail`` must be shorter than the smallest full subtree, so that it stands to the right of all of them.
        """
        if self.size and tail and len(tail) >= self.size & -self.size:
            raise MalformedInput(f"got {len(tail)} leaves after size {self.size}, expected fewer than its last subtree")
        stack = [*self._stack, root_of(tail)] if tail else self._stack
        if not stack:
            return EMPTY_ROOT
        right = stack[-1]
        for left in reversed(stack[:-1]):
            right = node(left, right)
        return right


def full_subtrees(start: int, end: int) -> list[Range]:
    """The largest aligned full subtrees that make up ``[start, end)``, from left to right."""
    ranges: list[Range] = []
    while start < end:
        width = start & -start or 1 << (end - start).bit_length()
        while start + width > end:
            width >>= 1
        ranges.append((start, start + width))
        start += width
    return ranges


def range_hash(start: int, end: int, full: Callable[[int, int], bytes]) -> bytes:
    """MTH of leaves ``[start, end)`` of a range that occurs in a proof, from the hashes of full subtrees.

    Args:
        start: first leaf.
        end: one past the last leaf.
        full: hash of an aligned full subtree ``[start, end)``.
    """
    hashes = [full(*subtree) for subtree in full_subtrees(start, end)]
    right = hashes[-1]
    for left in reversed(hashes[:-1]):
        right = node(left, right)
    return right


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The subtrees whose hashes make the inclusion proof of leaf ``index``, leaf to root (RFC 6962 §2.1.1)."""
    if not 0 <= index < size:
        raise MalformedInput(f"got leaf {index} of a tree of size {size}, expected an index below the size")
    start, end = 0, size
    path: list[Range] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    path.reverse()
    return path


def consistency_ranges(old: int, new: int) -> list[Range]:
    """The subtrees whose hashes prove that size ``old`` is a prefix of size ``new`` (RFC 6962 §2.1.2)."""
    if not 0 < old <= new:
        raise MalformedInput(f"got sizes {old} and {new}, expected 0 < old <= new")
    start, end = 0, new
    path: list[Range] = []
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    if start:
        path.append((start, end))
    path.reverse()
    return path


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """RFC 9162 §2.1.3.2.

    Raises:
        VerificationError: the proof does not show ``leaf_hash`` at ``index`` under ``root``.
    """
    where = f"inclusion of leaf {index} in size {size}"
    _need_hashes(where, [leaf_hash, *proof, root])
    if not 0 <= index < size:
        raise VerificationError(f"{where}: the index is not below the size")
    at, last, got = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            raise VerificationError(f"{where}: the proof is too long")
        if at & 1 or at == last:
            got = node(sibling, got)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            got = node(got, sibling)
        at >>= 1
        last >>= 1
    if last != 0:
        raise VerificationError(f"{where}: the proof is too short")
    if got != root:
        raise VerificationError(f"{where}: got root {got.hex()}, expected {root.hex()}")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """RFC 9162 §2.1.4.2, for ``0 < old <= new``: every tree is consistent with the empty one, so that proves nothing.

    Raises:
        VerificationError: the proof does not show that the old tree is a prefix of the new one.
    """
    where = f"consistency of size {old} with size {new}"
    if not 0 < old <= new:
        raise VerificationError(f"{where}: expected 0 < old <= new")
    if old == new:
        if proof:
            raise VerificationError(f"{where}: got a proof of {len(proof)} hashes, expected none")
        if old_root != new_root:
            raise VerificationError(f"{where}: got roots {old_root.hex()} and {new_root.hex()}, expected one")
        return
    _need_hashes(where, [old_root, new_root, *proof])
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not proof:
        raise VerificationError(f"{where}: got an empty proof")
    got_old, got_new = _consistency_roots(old, new, path, where)
    if got_old != old_root:
        raise VerificationError(f"{where}: got old root {got_old.hex()}, expected {old_root.hex()}")
    if got_new != new_root:
        raise VerificationError(f"{where}: got new root {got_new.hex()}, expected {new_root.hex()}")


def _consistency_roots(old: int, new: int, path: Sequence[bytes], where: str) -> tuple[bytes, bytes]:
    at, last = old - 1, new - 1
    while at & 1:
        at >>= 1
        last >>= 1
    got_old = got_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise VerificationError(f"{where}: the proof is too long")
        if at & 1 or at == last:
            got_old, got_new = node(sibling, got_old), node(sibling, got_new)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            got_new = node(got_new, sibling)
        at >>= 1
        last >>= 1
    if last != 0:
        raise VerificationError(f"{where}: the proof is too short")
    return got_old, got_new


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def _need_hashes(where: str, hashes: Sequence[bytes]) -> None:
    for item in hashes:
        if len(item) != HASH_BYTES:
            raise VerificationError(f"{where}: got a hash of {len(item)} bytes, expected {HASH_BYTES}")
