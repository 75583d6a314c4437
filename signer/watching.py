"""Watching a ledger from outside, round by round: what a monitor remembers, and what it finds against it.

::

    W1  a log is no smaller than before                          rollback
    W2  a log has the root that was seen, and has only grown     fork
    W3  a log that was seen is still here, with its genesis      deletion
    W4  checkpoint sets keep coming                              silence
    W5  what the policy demands vouches, and not too long ago    unvouched
    W6  records are signed soon after the bus took them          late
    W7  old entries are still there, and in the tree             deletion, fork
    W8  archived objects that were seen are still there          deletion

A log is followed by consistency proofs, so a round costs O(log n) for each log and what is new, not the whole ledger;
W7 looks at a few random bundles each round, so that what is taken away in silence is found sooner or later. What
contradicts is not taken up: the state stays what it was, and the alert stands until a person has decided.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from schemas.entry import decode_entry
from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from signer import merkle
from signer.anchors import parse_evidence_name, stored_heads
from signer.attested import check_evidence, covered_since, open_head
from signer.checkpoint import Checkpoint
from signer.checkpoint_set import decode_set
from signer.ledger import Ledger, shard_logs
from signer.origin import ANCHOR_SHARD
from signer.policy import Policy
from signer.tiles import ENTRIES, FULL_WIDTH, Tile, decode_bundle, width_at
from signer.verify import read_genesis
from signer.verify_tree import read_checkpoint
from stores.objects import Objects

SCHEMA = "affidavit.watch/1"
SAMPLES = 16
"""Entries of each log that W7 looks at in a round, each with the 255 around it."""

MAX_NEW = 100_000
"""Entries of a log that W6 looks at in a round; of more, the last ones."""

KINDS = ("rollback", "fork", "deletion", "silence", "unvouched", "late")


@dataclass(frozen=True, slots=True)
class Bounds:
    """When to raise an alert, in milliseconds."""

    silence_ms: int = 60_000
    late_ms: int = 60_000


class Alert(NamedTuple):
    """Something that a person should see. ``kind`` is one of :data:`KINDS`, ``step`` as above."""

    kind: str
    step: str
    origin: str
    message: str


@dataclass(slots=True)
class SeenLog:
    """The largest checkpoint of a log that was seen and that agreed with all before."""

    size: int
    root: str


@dataclass(slots=True)
class WatchState:
    """What a monitor remembers. ``archived`` are keys of objects, ``last_ms`` is the time of the round."""

    deployment: str
    logs: dict[str, SeenLog] = field(default_factory=dict)
    archived: list[str] = field(default_factory=list)
    last_ms: int = 0


@dataclass(frozen=True, slots=True)
class Round:
    """What one round found.

    Attributes:
        alerts: all of them, in the order of the steps.
        logs, leaves: how many logs are here, and leaves in them.
        new: leaves that are new since the last round.
        set_age_ms: age of the newest checkpoint set, -1 when there is none.
        vouched_age_ms: time since the policy's demands were last met, -1 when never.
        sampled: entries that W7 looked at.
    """

    alerts: tuple[Alert, ...]
    logs: int
    leaves: int
    new: int
    set_age_ms: int
    vouched_age_ms: int
    sampled: int


def format_state(state: WatchState) -> bytes:
    """The state as JSON."""
    return json.dumps({"schema": SCHEMA, **asdict(state)}, indent=1).encode() + b"\n"


def parse_state(data: bytes) -> WatchState:
    """Read what :func:`format_state` wrote.

    Raises:
        MalformedInput: anything else.
    """
    try:
        found: dict[str, Any] = json.loads(data)
        if found.pop("schema") != SCHEMA:
            raise MalformedInput(f"got a state that is not {SCHEMA}")
        logs = {name: SeenLog(int(one["size"]), str(one["root"])) for name, one in found.pop("logs").items()}
        return WatchState(
            str(found["deployment"]), logs, [str(one) for one in found["archived"]], int(found["last_ms"])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedInput(f"got a state that does not parse: {error!r}") from None


def watch(
    objects: Objects,
    policy: Policy,
    state: WatchState,
    now_ms: int,
    bounds: Bounds = Bounds(),
    rng: random.Random | None = None,
) -> Round:
    """Look once, and take up what agrees. Blocking.

    Args:
        objects: where the ledger lies; read only.
        policy: whom to believe.
        state: what was seen; changed in place.
        now_ms: by the monitor's own clock.
        bounds: for W4 and W6.
        rng: chooses what W7 looks at.
    """
    return _Watch(objects, policy, state, now_ms, bounds, rng or random.Random()).run()  # noqa: S311  a sample


class _Watch:
    def __init__(
        self, objects: Objects, policy: Policy, state: WatchState, now_ms: int, bounds: Bounds, rng: random.Random
    ) -> None:
        self._objects, self._ledger, self._policy = objects, Ledger(objects), policy
        self._state, self._now, self._bounds, self._rng = state, now_ms, bounds, rng
        self._alerts: list[Alert] = []
        self._new = self._sampled = 0

    def run(self) -> Round:
        here = {str(origin): origin for origin in self._ledger.origins(self._policy.trust.deployment)}
        for name in sorted(self._state.logs.keys() - here.keys()):
            self._alert("deletion", "W3", name, "was seen, and is not here any more")
        for name in sorted(here):
            self._follow(name)
        anchors = [str(one) for one in shard_logs(list(here.values()), ANCHOR_SHARD)]
        set_age = self._silence(anchors)
        vouched_age = self._vouched(anchors)
        self._archive()
        self._state.last_ms = self._now
        leaves = sum(seen.size for seen in self._state.logs.values())
        return Round(tuple(self._alerts), len(here), leaves, self._new, set_age, vouched_age, self._sampled)

    def _alert(self, kind: str, step: str, origin: str, message: str) -> None:
        self._alerts.append(Alert(kind, step, origin, message))

    def _follow(self, name: str) -> None:
        """W1 to W3, W6 and W7 for one log."""
        seen = self._state.logs.get(name)
        try:
            checkpoint = read_checkpoint(self._ledger, name, self._policy.trust)
            read_genesis(self._ledger, name, self._policy.trust)
        except EvidenceIncomplete as error:
            self._alert("deletion", "W3", name, str(error))
            return
        except VerificationError as error:
            self._alert("fork", "W2", name, str(error))
            return
        if seen is not None and not self._agrees(name, seen, checkpoint):
            return
        first = seen.size if seen else 0
        self._new += checkpoint.size - first
        self._late(name, first, checkpoint.size)
        self._sample(name, checkpoint)
        self._state.logs[name] = SeenLog(checkpoint.size, checkpoint.root.hex())

    def _agrees(self, name: str, seen: SeenLog, now: Checkpoint) -> bool:
        root = bytes.fromhex(seen.root)
        if now.size < seen.size:
            self._alert(
                "rollback",
                "W1",
                name,
                f"has {now.size} leaves, and had {seen.size}: its tail was cut off, or it was "
                "set back to an earlier state",
            )
            return False
        try:
            if now.size == seen.size:
                merkle.verify_consistency(seen.size, now.size, root, now.root, [])
            else:
                proof = self._ledger.hashes(name, now.size, merkle.consistency_ranges(seen.size, now.size))
                merkle.verify_consistency(seen.size, now.size, root, now.root, proof)
        except EvidenceIncomplete as error:
            self._alert("deletion", "W7", name, str(error))
            return False
        except VerificationError as error:
            self._alert(
                "fork",
                "W2",
                name,
                f"had root {seen.root} at size {seen.size}, and what is here now does not contain that: {error}",
            )
            return False
        return True

    def _late(self, name: str, first: int, end: int) -> None:
        """W6: what came since the last round, if that was not long ago."""
        between = self._now - self._state.last_ms
        if not self._state.last_ms or name.split("/")[-2] == "anchor":
            return
        late = 0
        for index in range(max(first, 1, end - MAX_NEW), end):
            try:
                entry = decode_entry(self._ledger.entry(name, end, index))
            except (EvidenceIncomplete, MalformedInput) as error:
                self._alert("deletion", "W7", name, f"entry {index}: {error}")
                return
            late += self._now - between - entry.time_ms > self._bounds.late_ms
        if late:
            self._alert(
                "late",
                "W6",
                name,
                f"{late} records were signed more than {self._bounds.late_ms / 1000:.0f} s after the "
                "bus took them: the signer was behind, or records were put in afterwards",
            )

    def _sample(self, name: str, checkpoint: Checkpoint) -> None:
        """W7."""
        size = checkpoint.size
        for index in {self._rng.randrange(size) for _ in range(min(SAMPLES, size))}:
            self._sampled += 1
            try:
                number, at = divmod(index, FULL_WIDTH)
                width = width_at(size, ENTRIES, number)
                entries = decode_bundle(self._ledger.tile(name, Tile(ENTRIES, number, width)), width)
                leaves = merkle.leaves(entries)
                if b"".join(leaves) != self._ledger.tile(name, Tile(0, number, width)):
                    raise VerificationError("its bundle is not what the tile above it says")
                proof = self._ledger.hashes(name, size, merkle.inclusion_ranges(index, size))
                merkle.verify_inclusion(index, size, leaves[at], proof, checkpoint.root)
            except EvidenceIncomplete as error:
                self._alert("deletion", "W7", name, f"entry {index}: {error}")
                return
            except (VerificationError, MalformedInput) as error:
                self._alert("fork", "W7", name, f"entry {index}: {error}")
                return

    def _silence(self, anchors: Sequence[str]) -> int:
        """W4: the age of the newest set."""
        for name in reversed(anchors):
            seen = self._state.logs.get(name)
            if seen is None or seen.size < 2:
                continue
            try:
                age = self._now - decode_set(self._ledger.entry(name, seen.size, seen.size - 1)).time_ms
            except (EvidenceIncomplete, MalformedInput) as error:
                self._alert("deletion", "W7", name, str(error))
                return -1
            if age > self._bounds.silence_ms:
                self._alert(
                    "silence",
                    "W4",
                    name,
                    f"the newest checkpoint set is {age / 1000:.0f} s old, expected at most "
                    f"{self._bounds.silence_ms / 1000:.0f} s: nothing shows that the logs still grow as they should",
                )
            return age
        self._alert("silence", "W4", self._policy.trust.deployment, "there is no checkpoint set")
        return -1

    def _vouched(self, anchors: Sequence[str]) -> int:
        """W5: how long ago the policy's demands were met."""
        newest = max((self._newest(name) for name in anchors), default=0)
        age = self._now - newest if newest else -1
        bound = self._policy.max_age_seconds
        if self._policy.asks_for_anchors and (not newest or (bound is not None and age > bound * 1000)):
            since = f"for {age / 1000:.0f} s" if newest else "at all"
            self._alert(
                "unvouched", "W5", self._policy.trust.deployment, f"{self._policy.demands()} has not vouched {since}"
            )
        return age

    def _newest(self, name: str) -> int:
        """When the demands were last met for a head of one anchor log; 0 for never."""
        seen = self._state.logs.get(name)
        size = seen.size if seen else 0
        for since in (max(0, size - 1000), 0):  # the newest are near the end
            times = list(self._covered(name, since, size))
            if times or since == 0:
                return max(times, default=0)
        return 0

    def _covered(self, name: str, since: int, size: int) -> Iterable[int]:
        for head in stored_heads(self._objects, name, since=since):
            if head.size > size:
                continue
            try:
                note, _ = open_head(self._objects, head, self._policy.trust)
                named = [(one, file) for file in head.files if (one := parse_evidence_name(file))]
                found = [
                    vouched
                    for one, file in named
                    if (vouched := check_evidence(*one, self._objects.get(head.key(file)), note, self._policy))
                ]
            except EvidenceIncomplete as error:
                self._alert("deletion", "W5", name, str(error))
                continue
            except (VerificationError, MalformedInput, UnicodeDecodeError, KeyError) as error:
                self._alert("fork", "W5", name, f"what vouches for size {head.size} does not verify: {error}")
                continue
            covered = covered_since(found, self._policy)
            if covered is not None:
                yield covered[0]

    def _archive(self) -> None:
        """W8."""
        here = [info.key for info in self._objects.list("segments/") if not info.key.startswith("segments/_plans/")]
        gone = sorted(set(self._state.archived) - set(here))
        for key in gone[:20]:
            self._alert("deletion", "W8", key, "an archived object was seen, and is not here any more")
        # What is gone stays remembered: the alert stands until a person has decided.
        self._state.archived = sorted({*here, *gone})
