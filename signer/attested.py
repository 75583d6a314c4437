"""Verifying what vouches for the anchor log from outside (``docs/log-format.md`` §10).

::

    A6   every archived checkpoint of an anchor log is signed, and the log still has its root at its size
    A7   every attestation beside it, of an anchor that the policy lists, verifies over exactly its bytes
    A8   an anchor's times do not decrease as the log grows, and no set is later than the anchor that has seen it
    A9   every token in a set is that of an attestation that is here, of a smaller head, and not later than the set
    A10  what the policy demands has vouched for a head, and not too long ago
    A11  the log has every checkpoint of which a locked copy exists elsewhere
    A12  of a log that a revoked key signed, every leaf was vouched for before its revocation

Attestations of anchors that the policy does not list prove nothing and are counted. A receipt of a locked copy is the
operator's own word: A11 looks at the copies.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from schemas.entry import ZERO
from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from signer.anchors import CHECKPOINT, AnchorKind, StoredHead, parse_evidence_name, stored_heads, token_of
from signer.checkpoint import open_checkpoint
from signer.cosignature import verify_cosignature
from signer.note import Note, parse_note, parse_signature
from signer.policy import Policy
from signer.rekor import verify_entry
from signer.report import INCOMPLETE, AnchorCount, Findings, OutsideReport
from signer.tokens import verify_token
from signer.trust import Trust
from signer.verify_anchors import Anchors
from signer.verify_tree import KnownHead
from stores.objects import Objects

SKEW_MS = 60_000
"""How far clocks may lie apart."""


class Vouched(NamedTuple):
    """One attestation that verifies: an anchor has seen a head at a time, milliseconds since 1970 UTC (0: no time)."""

    kind: AnchorKind
    name: str
    time_ms: int


class Covered(NamedTuple):
    """A head for which the policy's demands are met: of which anchor log (its number), its size, since when, whose."""

    log: int
    size: int
    time_ms: int
    by: str


@dataclass(frozen=True, slots=True)
class Attested:
    """What vouches from outside, verified.

    Attributes:
        covered: heads that the policy accepts, in the order of the log.
        report: for people.
    """

    covered: tuple[Covered, ...]
    report: OutsideReport


def archived_heads(objects: Objects, origin: str, trust: Trust) -> list[KnownHead]:
    """Step A6 without the tree: the archived checkpoints of one anchor log, which the walk over it must reproduce.

    Raises:
        VerificationError: one is not signed, or is of another size than its folder says.
        EvidenceIncomplete: a folder has attestations and no checkpoint.
    """
    return [
        KnownHead(head.size, open_head(objects, head, trust)[1], b"", "A6", "an archived checkpoint")
        for head in _stored(objects, origin)
    ]


def open_head(objects: Objects, head: StoredHead, trust: Trust) -> tuple[bytes, bytes]:
    """The anchored bytes of a stored head, and the root that they state, once its signature holds.

    Raises:
        VerificationError, EvidenceIncomplete: as in :func:`archived_heads`.
    """
    try:
        note = objects.get(head.key(CHECKPOINT))
    except KeyError:
        raise EvidenceIncomplete(f"{head.origin}: {head.key(CHECKPOINT)} is not there", step="A6") from None
    try:
        checkpoint = open_checkpoint(note, head.origin, trust.keys(head.origin))
    except VerificationError as error:
        raise VerificationError(f"{head.key(CHECKPOINT)}: {error}", step="A6") from None
    if checkpoint.size != head.size:
        raise VerificationError(f"{head.key(CHECKPOINT)}: states size {checkpoint.size}", step="A6")
    return note, checkpoint.root


def copied_heads(copies: Iterable[tuple[int, bytes]], place: str, origin: str, trust: Trust) -> Iterator[KnownHead]:
    """Step A11 without the tree: the locked copies of one anchor log. Copies that none of our keys signed were written
    by somebody else, and say nothing."""
    for size, note in copies:
        try:
            checkpoint = open_checkpoint(note, origin, trust.keys(origin))
        except VerificationError:
            continue
        if checkpoint.size == size:
            yield KnownHead(size, checkpoint.root, b"", "A11", f"a locked copy in {place}")


def verify_attested(
    objects: Objects, anchors: Anchors, archived: Mapping[str, Sequence[KnownHead]], policy: Policy, now_ms: int
) -> tuple[Attested, Findings]:
    """Steps A7 to A10, over anchor logs that :func:`signer.verify_anchors.verify_anchors` has verified.

    Args:
        objects: where attestations lie.
        anchors: the verified logs.
        archived: of each, the heads that were compared with its tree (A6); what came since is left out.
        policy: whom to believe.
        now_ms: for A10.
    """
    findings = Findings(anchors.origin)
    reader = _Reader(objects, anchors, policy, findings)
    for number, origin in enumerate(anchors.origins):
        roots = {head.size: head.root for head in archived.get(origin, ()) if head.step == "A6"}
        for head in _stored(objects, origin):
            if head.size in roots:
                note, root = open_head(objects, head, policy.trust)
                if root != roots[head.size]:
                    raise VerificationError(f"{head.key(CHECKPOINT)}: changed while it was read", step="A6")
                reader.add(number, head, note)
    reader.check_tokens()
    _check_policy(reader.covered, policy, now_ms, findings)
    return Attested(tuple(reader.covered), reader.report()), findings


def check_evidence(kind: AnchorKind, name: str, evidence: bytes, note: bytes, policy: Policy) -> Vouched | None:
    """Step A7: one attestation over the anchored bytes ``note``; ``None`` when the policy does not list its anchor.

    Raises:
        VerificationError: it does not verify.
    """
    match kind:
        case "tsa":
            for authority in policy.authorities:
                if authority.name == name:
                    return Vouched(kind, name, verify_token(evidence, note, authority))
        case "witness":
            for witness in policy.witnesses:
                if witness.name == name:
                    signatures = tuple(parse_signature(line) for line in evidence.decode().splitlines())
                    cosigned = Note(parse_note(note).text, signatures)
                    return Vouched(kind, name, verify_cosignature(cosigned, witness.key) * 1000)
        case "rekor":
            for log in policy.rekor:
                if log.name == name:
                    verify_entry(evidence, note, log)
                    return Vouched(kind, name, 0)
        case "lock":
            pass
    return None


def covered_since(vouched: Sequence[Vouched], policy: Policy) -> tuple[int, str] | None:
    """When the demands of a policy were met for a head, and by whom; ``None`` when they are not.

    The time is that at which the last needed one had seen it; of more than needed, the earliest count. Where the policy
    demands nothing, the earliest of those it lists.
    """
    stamped = sorted((one.time_ms, one.name) for one in vouched if one.kind == "tsa")
    cosigned = sorted((one.time_ms, one.name) for one in vouched if one.kind == "witness")
    needed = stamped[: policy.authorities_needed]
    if len({name for _, name in needed}) < policy.authorities_needed:
        return None
    if policy.quorum:
        count = next(
            (n for n in range(1, len(cosigned) + 1) if policy.cosigned([name for _, name in cosigned[:n]])), None
        )
        if count is None:
            return None
        needed = [*needed, *cosigned[:count]]
    if not needed:
        needed = sorted([*stamped, *cosigned])[:1]
    if not needed:
        return None
    return max(time for time, _ in needed), ", ".join(name for _, name in needed)


@dataclass(slots=True)
class _Seen:
    """One anchor, over all heads."""

    attestations: int = 0
    failed: int = 0
    size: int = 0
    first_ms: int = 0
    last_ms: int = 0


@dataclass(slots=True)
class _Reader:
    """Steps A7 to A9, head by head."""

    objects: Objects
    anchors: Anchors
    policy: Policy
    findings: Findings
    covered: list[Covered] = field(default_factory=list)
    _heads: int = 0
    _unlisted: dict[tuple[AnchorKind, str], int] = field(default_factory=dict)
    _seen: dict[tuple[AnchorKind, str], _Seen] = field(default_factory=dict)
    _tokens: dict[bytes, tuple[int, int, int, str]] = field(default_factory=dict)

    def add(self, number: int, head: StoredHead, note: bytes) -> None:
        """One head and its anchored bytes."""
        self._heads += 1
        vouched = []
        for file in head.files:
            named = parse_evidence_name(file)
            if named is None:
                continue
            evidence = self.objects.get(head.key(file))
            try:
                one = check_evidence(*named, evidence, note, self.policy)
            except (VerificationError, MalformedInput, UnicodeDecodeError) as error:
                self._seen.setdefault(named, _Seen()).failed += 1
                self.findings.add("A7", f"{head.key(file)}: {error}", where=head.key(file))
                continue
            self._tokens[token_of(evidence)] = (number, head.size, one.time_ms if one else 0, head.key(file))
            if one is None:
                self._unlisted[named] = self._unlisted.get(named, 0) + 1
            else:
                vouched.append(one)
                self._check_time(number, head, file, one)
        since = covered_since(vouched, self.policy)
        if since is not None:
            self.covered.append(Covered(number, head.size, *since))

    def _check_time(self, number: int, head: StoredHead, file: str, one: Vouched) -> None:
        """Step A8."""
        seen = self._seen.setdefault((one.kind, one.name), _Seen())
        seen.attestations += 1
        seen.size = head.size
        if not one.time_ms:
            return
        if one.time_ms + SKEW_MS < seen.last_ms:
            self.findings.add(
                "A8",
                f"{head.key(file)}: its time is {_seconds(seen.last_ms - one.time_ms)} before that of a smaller head",
            )
        taken = self.anchors.set_time(number, head.size)
        if taken > one.time_ms + SKEW_MS:
            self.findings.add(
                "A8",
                f"{head.key(file)}: {one.name} has seen this head {_seconds(taken - one.time_ms)} before its last set "
                "was taken: the log's clock ran ahead",
            )
        seen.first_ms = seen.first_ms or one.time_ms
        seen.last_ms = max(seen.last_ms, one.time_ms)

    def check_tokens(self) -> None:
        """Step A9."""
        absent = 0
        for number, index, time_ms, token in self.anchors.tokens:
            if token == ZERO:
                continue
            if token not in self._tokens:
                absent += 1
                continue
            log, size, seen_ms, key = self._tokens[token]
            if (log, size) > (number, index):
                self.findings.add("A9", f"set {index} names {key}, which vouches for a later head")
            if seen_ms > time_ms + SKEW_MS:
                self.findings.add(
                    "A9",
                    f"set {index} was taken {_seconds(seen_ms - time_ms)} before {key}, which it names: the log's "
                    "clock ran behind, or was set back",
                )
        if absent:
            self.findings.add(
                "A9",
                f"{absent:,} attestations that checkpoint sets name are not here: they were deleted",
                code=INCOMPLETE,
            )

    def report(self) -> OutsideReport:
        counts = [
            AnchorCount(kind, name, seen.attestations, seen.failed, seen.size, seen.first_ms, seen.last_ms)
            for (kind, name), seen in sorted(self._seen.items())
        ]
        unlisted = tuple((kind, name, count) for (kind, name), count in sorted(self._unlisted.items()))
        last = self.covered[-1] if self.covered else None
        gaps = [later.time_ms - earlier.time_ms for earlier, later in zip(self.covered, self.covered[1:], strict=False)]
        return OutsideReport(
            self.policy.demands(),
            self._heads,
            tuple(counts),
            unlisted,
            len(self.covered),
            self.covered[0].time_ms if self.covered else 0,
            last.time_ms if last else 0,
            last.size if last else 0,
            max(gaps, default=0),
        )


def _check_policy(covered: Sequence[Covered], policy: Policy, now_ms: int, findings: Findings) -> None:
    """Step A10."""
    if not policy.asks_for_anchors:
        return
    if not covered:
        findings.add(
            "A10",
            f"no head of the anchor log is vouched for by {policy.demands()}, as the policy demands",
            code=INCOMPLETE,
        )
        return
    age_ms = now_ms - covered[-1].time_ms
    if policy.max_age_seconds is not None and age_ms > policy.max_age_seconds * 1000:
        findings.add(
            "A10",
            f"the last head that {policy.demands()} vouched for was seen {_seconds(age_ms)} ago, expected at most "
            f"{policy.max_age_seconds} s: the anchors were out of reach, or the tail is not here",
            code=INCOMPLETE,
        )


class VouchedRange(NamedTuple):
    """Leaves ``first`` to ``last`` of a log existed at ``time_ms``, says ``by``; nobody vouches for an earlier time."""

    first: int
    last: int
    time_ms: int
    by: str


MAX_RANGES = 1000


def vouched_ranges(anchors: Anchors, covered: Sequence[Covered], origin: str) -> list[VouchedRange]:
    """The earliest time that is vouched for, for each range of one log's leaves; at most :data:`MAX_RANGES`, neighbours
    put together under the later of their times where there are more."""
    positions = anchors.positions.get(origin, ())
    sizes = [head.size for head in anchors.history.get(origin, ())]
    ranges: list[VouchedRange] = []
    done = 0
    for one in covered:
        count = bisect_left(positions, (one.log, one.size))  # states listed in sets below the head
        size = sizes[count - 1] if count else 0
        if size > done:
            ranges.append(VouchedRange(done, size - 1, one.time_ms, one.by))
            done = size
    while len(ranges) > MAX_RANGES:
        ranges = [
            a._replace(last=b.last, time_ms=max(a.time_ms, b.time_ms), by=a.by if a.by == b.by else f"{a.by}; {b.by}")
            for a, b in zip(ranges[::2], ranges[1::2], strict=False)
        ] + ranges[len(ranges) & ~1 :]
    return ranges


def check_revoked(
    anchors: Anchors, covered: Sequence[Covered], policy: Policy, origin: str, public_key: bytes, size: int
) -> None:
    """Step A12, for one log: whoever has a stolen key can sign anything, and cannot have had it vouched for before.

    Raises:
        VerificationError: leaves that nobody vouches for from before the revocation.
    """
    for revoked in policy.revoked:
        if revoked.public_key != public_key:
            continue
        early = [one for one in covered if one.time_ms < revoked.since_ms]
        ranges = anchor_ranges(early, anchors, origin)
        done = ranges[-1].last + 1 if ranges else 0
        if done < size:
            raise VerificationError(
                f"{origin}: leaves {done} to {size - 1} are signed with a key that is revoked since "
                f"{_date(revoked.since_ms)}, and nobody vouches that they existed before",
                step="A12",
            )


def anchor_ranges(covered: Sequence[Covered], anchors: Anchors, origin: str) -> list[VouchedRange]:
    """:func:`vouched_ranges`, of an anchor log itself, too."""
    if origin not in anchors.origins:
        return vouched_ranges(anchors, covered, origin)
    own = [one for one in covered if anchors.origins[one.log] == origin]
    return [VouchedRange(0, own[-1].size - 1, own[-1].time_ms, own[-1].by)] if own else []


def _date(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _stored(objects: Objects, origin: str) -> Iterator[StoredHead]:
    try:
        yield from stored_heads(objects, origin)
    except MalformedInput as error:
        raise VerificationError(str(error), step="A6") from None


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.0f} s"


CopyStores = Mapping[str, Callable[[str], Iterable[tuple[int, bytes]]]]
"""Stores with locked copies: by place, what gives the copies of an anchor log."""
