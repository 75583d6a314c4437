"""Verifying the anchor log: what it says of all others, and how fresh that is (``docs/log-format.md`` §10).

::

    A1  the anchor log itself: steps 1 to 8, 11, 12 and 14
    A2  every entry is a checkpoint set; numbers go up by one; times never decrease
    A3  in every later set each log is listed again, no smaller than before, and unchanged where its size is, until
        the set lists the log that follows it (15 compares where it ended)
    A4  the last set is not older than the freshness bound
    A5  every log that is listed is here, and every log that is here is listed
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from signer.checkpoint_set import CheckpointSet, LogHead, decode_set, followed
from signer.genesis import Genesis, Predecessor, genesis_entry
from signer.ledger import Ledger
from signer.report import OnProgress
from signer.trust import Trust
from signer.verify import lock_head, read_genesis
from signer.verify_tree import KnownHead, TreeWalk
from stores.control import Lock

FRESHNESS_MS = 60_000
"""Age at which a head counts as stale: six checkpoint sets were missed, or their end was cut off."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """What a verified anchor log says.

    Attributes:
        origin, size, root: the anchor log itself.
        sets: how many sets it holds; ``first_ms`` and ``last_ms`` when the first and the last were taken.
        longest_silence_ms: the longest time between two sets: when the anchorer did not run.
        history: of each log, its states as sets listed them, each state once, in order.
        positions: of each of these states, where the first set that lists it lies: the number of the anchor log, and
            the index of the set's last entry in it.
        origins: the anchor logs, in order.
        times: of each anchor log, the time of the set that each entry behind the genesis belongs to.
        tokens: of each token, where it first stands: anchor log, index, the set's time, and the token.
    """

    origin: str
    size: int
    root: bytes
    sets: int
    first_ms: int
    last_ms: int
    longest_silence_ms: int
    history: dict[str, tuple[LogHead, ...]]
    positions: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    origins: tuple[str, ...] = ()
    times: tuple[array[int], ...] = ()
    tokens: tuple[tuple[int, int, int, bytes], ...] = ()

    def set_time(self, number: int, size: int) -> int:
        """When the last set within the first ``size`` leaves of an anchor log was taken; 0 when there is none."""
        times = self.times[number]
        return times[min(size - 1, len(times)) - 1] if size > 1 and times else 0

    def heads(self, origin: str) -> list[KnownHead]:
        """What :func:`signer.verify.verify_log` must find in a log (step 13)."""
        return [
            KnownHead(head.size, head.root, head.chain, "13", "a checkpoint set")
            for head in self.history.get(origin, ())
        ]

    def last_size(self, origin: str) -> int:
        """Size of a log in the last set, 0 when it is in none."""
        history = self.history.get(origin)
        return history[-1].size if history else 0


def verify_anchors(
    ledger: Ledger,
    origin: str | Sequence[str],
    trust: Trust,
    *,
    lock: Lock | None = None,
    known: Mapping[str, Sequence[KnownHead]] = MappingProxyType({}),
    progress: OnProgress = lambda progress: None,
) -> Anchors:
    """Steps A1 to A3, and 15 between the anchor logs.

    Args:
        ledger: where they lie.
        origin: the anchor log, or all of them, the oldest first: the sets of one go on where those of the last ended.
        trust: whose signatures count.
        lock: the lock row of the last one.
        known: of each of them, heads that it must have (A6, A11).
        progress: told now and then.

    Raises:
        VerificationError: an anchor log contradicts itself, or the one before it.
        EvidenceIncomplete: one is not there, has lost its tail, or none holds a set.
    """
    names = [origin] if isinstance(origin, str) else list(origin)
    sets = _Sets()
    walk, before = None, None
    for name in names:
        heads = [*known.get(name, ()), *([lock_head(lock)] if lock and name == names[-1] else [])]
        walk = TreeWalk(ledger, name, trust, heads, progress)
        genesis, document = read_genesis(ledger, name, trust)
        _check_link(genesis, before)
        sets.begin_log(name, genesis.start_offset, genesis.opened_ms)
        for block in walk.blocks():
            entries = block.entries
            if block.first == 0:
                if entries[0] != genesis_entry(document, genesis.opened_ms):
                    raise VerificationError(f"{name}: entry 0 does not commit to the genesis document", step="4")
                entries = entries[1:]
            for index, data in enumerate(entries, max(block.first, 1)):
                sets.add(index, data)
        sets.end_log()
        before = Predecessor(name, walk.checkpoint.size, walk.checkpoint.root, walk.chain)
    if walk is None or not sets.count:
        raise EvidenceIncomplete(f"{', '.join(names) or trust.deployment}: holds no checkpoint set", step="A2")
    history = {name: tuple(heads) for name, heads in sets.history.items()}
    root = walk.checkpoint.root
    return Anchors(
        names[-1],
        walk.checkpoint.size,
        root,
        sets.count,
        sets.first_ms,
        sets.last_ms,
        sets.silence_ms,
        history,
        {name: tuple(places) for name, places in sets.positions.items()},
        tuple(names),
        tuple(sets.times),
        tuple(sets.tokens),
    )


def _check_link(genesis: Genesis, before: Predecessor | None) -> None:
    """Step 15, for anchor logs."""
    name, previous = genesis.origin, genesis.previous
    if before is None:
        if previous is not None:
            raise EvidenceIncomplete(f"{name}: follows {previous.origin}, which is not here", step="15")
        return
    if previous is None or previous.origin != before.origin:
        follows = previous.origin if previous else "none"
        raise VerificationError(f"{name}: follows {follows}, expected {before.origin}", step="15")
    if before.size < previous.size:
        raise EvidenceIncomplete(
            f"{before.origin}: ends at size {before.size}, and {name} follows its size {previous.size}", step="15"
        )
    if before != previous:
        raise VerificationError(
            f"{name}: follows {before.origin} at size {previous.size} with root {previous.root.hex()}, and that log "
            f"has size {before.size} with root {before.root.hex()}",
            step="15",
        )


def verify_freshness(anchors: Anchors, now_ms: int, bound_ms: int = FRESHNESS_MS) -> None:
    """Step A4.

    Raises:
        EvidenceIncomplete: the last set is older than the bound: whatever came after it is not here.
    """
    age = now_ms - anchors.last_ms
    if age > bound_ms:
        raise EvidenceIncomplete(
            f"{anchors.origin}: the last checkpoint set is {age / 1000:.0f} s old, expected at most "
            f"{bound_ms / 1000:.0f} s: the signer is down, or the tail is not here",
            step="A4",
        )


def verify_origins(anchors: Anchors, present: Collection[str], young: Sequence[str] = ()) -> None:
    """Step A5.

    Args:
        anchors: what was verified.
        present: the origins of the logs that are here, without the anchor log.
        young: those of them that opened less than the freshness bound ago, which need not be listed yet.

    Raises:
        EvidenceIncomplete: a listed log is not here, or the set that lists a log is not.
    """
    absent = sorted(anchors.history.keys() - set(present))
    if absent:
        raise EvidenceIncomplete(f"got no log {', '.join(absent)}, which checkpoint sets list", step="A5")
    listed = set(anchors.history)
    unlisted = sorted(name for name in set(present) - listed - set(young) if not followed(name, listed))
    if unlisted:
        raise EvidenceIncomplete(f"got log {', '.join(unlisted)}, which no checkpoint set lists", step="A5")


class _Sets:
    """Steps A2 and A3, entry by entry."""

    def __init__(self) -> None:
        self._origin = ""
        self._next: int | None = None
        self._index = 0
        self._current: CheckpointSet | None = None
        self._place = (0, 0)
        self._heads: dict[str, LogHead] = {}
        self._listed: set[str] = set()
        self.history: dict[str, list[LogHead]] = {}
        self.positions: dict[str, list[tuple[int, int]]] = {}
        self.times: list[array[int]] = []
        self.tokens: list[tuple[int, int, int, bytes]] = []
        self.count = 0
        self.first_ms = 0
        self.last_ms = 0
        self.silence_ms = 0

    def begin_log(self, origin: str, sequence: int, opened_ms: int) -> None:
        self._origin, self._index = origin, 0
        self.times.append(array("q"))
        if self._next is not None and sequence != self._next:
            raise self._error(f"begins with set number {sequence}, expected {self._next}", "A2")
        self._next = sequence
        self.last_ms = self.last_ms if self.count else opened_ms

    def add(self, index: int, data: bytes) -> None:
        self._index = index
        try:
            entry = decode_set(data)
        except MalformedInput as error:
            raise self._error(str(error), "A2") from None
        current = self._current
        if current is not None and entry.sequence == current.sequence:
            if entry.time_ms != current.time_ms or entry.token != current.token:
                raise self._error("continues a set with another time or token", "A2")
        else:
            self._close()
            self._begin(entry)
        if self._heads and entry.heads[0].origin <= next(reversed(self._heads)):
            raise self._error(f"{entry.heads[0].origin} is listed twice, or out of order", "A2")
        self._heads |= {head.origin: head for head in entry.heads}
        self._place = (len(self.times) - 1, index)
        self.times[-1].append(entry.time_ms)

    def _begin(self, entry: CheckpointSet) -> None:
        if entry.sequence != self._next:
            raise self._error(f"got set number {entry.sequence}, expected {self._next}", "A2")
        if entry.time_ms < self.last_ms:
            raise self._error(f"got time {entry.time_ms}, expected at least {self.last_ms}", "A2")
        if self.count:
            self.silence_ms = max(self.silence_ms, entry.time_ms - self.last_ms)
        self.first_ms = self.first_ms or entry.time_ms
        self.last_ms = entry.time_ms
        self.count += 1
        self._next = entry.sequence + 1
        self._current, self._heads = entry, {}
        if not self.tokens or entry.token != self.tokens[-1][3]:
            self.tokens.append((len(self.times) - 1, self._index, entry.time_ms, entry.token))

    def _close(self) -> None:
        """A3, once all entries of a set are in."""
        if self._current is None:
            return
        gone = sorted(name for name in self._listed - self._heads.keys() if not followed(name, self._heads))
        if gone:
            raise self._error(f"set {self._current.sequence} does not list {gone[0]}, which an earlier one does", "A3")
        for name, head in self._heads.items():
            seen = self.history.setdefault(name, [])
            if seen and (head.size < seen[-1].size or (head.size == seen[-1].size and head != seen[-1])):
                raise self._error(f"{name} has size {head.size}, after {seen[-1].size} with another root", "A3")
            if not seen or head != seen[-1]:
                seen.append(head)
                self.positions.setdefault(name, []).append(self._place)
        self._listed = set(self._heads)

    def end_log(self) -> None:
        self._close()
        self._current = None

    def _error(self, message: str, step: str) -> VerificationError:
        return VerificationError(f"{self._origin}: entry {self._index}: {message}", step=step)
