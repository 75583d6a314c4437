"""Verifying one log, by numbered steps. The numbers are those of ``docs/log-format.md`` §10.

::

     1  the checkpoint is there, well-formed, and signed by a trusted key under the log's origin
     2  it is of this origin, and not of an empty log
     3  every tile and every bundle is there, with as many hashes or entries as the size asks for
     4  the genesis document names this log and a trusted key, and entry 0 commits to it
     5  every entry parses, and is of a kind that belongs on this topic
     6  every leaf hash is that of its entry
     7  every hash of an upper tile is the root of the tile below it
     8  the root is that of the checkpoint
     9  entry i stands for bus offset start + i − 1
    10  times step back by at most a minute below the latest before them (:mod:`signer.bus_time`)
    11  the chain, computed anew, has the values that others know
    12  the lock row, when it is at hand, agrees
    13  every checkpoint set agrees, and the last is not ahead of the checkpoint
    14  nothing else lies in the log's folder

A step that finds something raises :class:`~schemas.errors.VerificationError` with its number; what is absent raises
:class:`~schemas.errors.EvidenceIncomplete`. Nothing returns true or false.

The steps of the anchor log are in :mod:`signer.verify_anchors`, of a destination's records in
:mod:`signer.verify_records`, of a single record in :mod:`signer.verify_event`; :mod:`signer.verify_ledger` puts all
of them together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.errors import EvidenceIncomplete, MalformedInput, VerificationError
from signer.genesis import Genesis, parse_genesis
from signer.ledger import Ledger
from signer.note import format_vkey
from signer.origin import Origin, parse_origin
from signer.report import OnProgress
from signer.tiles import FULL_WIDTH
from signer.trust import Trust
from signer.verified import RulesState, VerifiedUpTo
from signer.verify_entries import EntryRules
from signer.verify_tree import Block, KnownHead, TreeWalk
from stores.control import Lock


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """What a verified log says.

    Attributes:
        origin, genesis: which log.
        size: leaves, genesis included; ``root`` and ``chain`` 32 bytes each.
        records: entries for messages of the bus; ``invalid`` of them for messages that are no records.
        first_ms, last_ms: earliest and latest time of a record, milliseconds since 1970 UTC; 0 when there are none.
        steps_back: records whose time lay below the latest before them, at most by ``largest_step_ms``.
        ahead: objects beyond the checkpoint: a batch that was being published, or a checkpoint that was set back.
    """

    origin: Origin
    genesis: Genesis
    size: int
    root: bytes
    chain: bytes
    records: int
    invalid: int
    first_ms: int
    last_ms: int
    ahead: int
    steps_back: int = 0
    largest_step_ms: int = 0


class LogVerification:
    """All steps over one log of a shard, while the caller looks at the entries block by block.

    Attributes:
        genesis: verified against the origin and the trusted keys; against entry 0 once the first block is out.
        size: leaves, as the checkpoint says.
    """

    def __init__(
        self,
        ledger: Ledger,
        origin: str,
        trust: Trust,
        heads: Sequence[KnownHead] = (),
        progress: OnProgress = lambda progress: None,
        since: VerifiedUpTo | None = None,
    ) -> None:
        """Run steps 1, 2, and 4 as far as it goes without entries; with ``since`` entries up to there are left out."""
        self.origin = _own_origin(origin, trust)
        self._walk = TreeWalk(ledger, origin, trust, heads, progress, since)
        self.genesis, document = read_genesis(ledger, origin, trust)
        self.size = self._walk.checkpoint.size
        self._rules = EntryRules(self.origin, self.genesis, document, since.rules if since else RulesState())
        self._whole = self._rules.state
        self.since = since.size if since else 0

    def blocks(self) -> Iterator[Block]:
        """Verified block by block; exhaust it, the last steps run at its end.

        Raises:
            VerificationError: a step failed.
        """
        for block in self._walk.blocks():
            self._rules.check(block.first, block.entries)
            if len(block.entries) == FULL_WIDTH:
                self._whole = self._rules.state
            yield block

    @property
    def up_to(self) -> VerifiedUpTo | None:
        """What the next verification may go on behind, once :meth:`blocks` is exhausted."""
        size, root, chain = self._walk.whole
        return VerifiedUpTo(size, root, chain, self._whole) if size else None

    @property
    def result(self) -> VerifiedLog:
        """What was verified, once :meth:`blocks` is exhausted."""
        walk, rules = self._walk, self._rules
        return VerifiedLog(
            self.origin,
            self.genesis,
            self.size,
            walk.checkpoint.root,
            walk.chain,
            self.size - 1,
            rules.invalid,
            rules.first_ms,
            rules.last_ms,
            walk.ahead,
            rules.steps_back,
            rules.largest_step_ms,
        )


def verify_log(
    ledger: Ledger,
    origin: str,
    trust: Trust,
    *,
    lock: Lock | None = None,
    heads: Sequence[KnownHead] = (),
    progress: OnProgress = lambda progress: None,
) -> VerifiedLog:
    """Verify the structure of one shard's log, all 14 steps.

    Args:
        ledger: where it lies.
        origin: its name.
        trust: whose signatures count.
        lock: the signer's lock row, read before this call; leave it out when verifying without the operator.
        heads: what the checkpoint sets say of it (:meth:`signer.verify_anchors.Anchors.heads`), read before this call.
        progress: told now and then.

    Raises:
        VerificationError: a step found a contradiction.
        EvidenceIncomplete: something is absent: an object, the tail, or the log itself.
    """
    known = [*heads, *([lock_head(lock)] if lock else [])]
    verification = LogVerification(ledger, origin, trust, known, progress)
    for _ in verification.blocks():
        pass
    return verification.result


def lock_head(lock: Lock) -> KnownHead:
    """What the signer's lock row says of its log (step 12)."""
    return KnownHead(lock.size, lock.root, lock.chain, "12", "the signer's lock row")


def read_genesis(ledger: Ledger, origin: str, trust: Trust) -> tuple[Genesis, bytes]:
    """Step 4 without the leaf: the document parses, names this log, and a trusted key; returned with its bytes."""
    try:
        document = ledger.genesis(origin)
        genesis = parse_genesis(document)
    except EvidenceIncomplete as error:
        raise EvidenceIncomplete(str(error), step="4") from None
    except MalformedInput as error:
        raise VerificationError(f"{origin}: {error}", step="4") from None
    if genesis.origin != origin:
        raise VerificationError(f"{origin}: got the genesis document of {genesis.origin}", step="4")
    if genesis.vkey not in [format_vkey(key) for key in trust.keys(origin)]:
        raise VerificationError(f"{origin}: the genesis document names key {genesis.vkey}, not a trusted one", step="4")
    return genesis, document


def _own_origin(origin: str, trust: Trust) -> Origin:
    try:
        parsed = parse_origin(origin)
    except MalformedInput as error:
        raise VerificationError(str(error), step="2") from None
    if parsed.deployment != trust.deployment:
        raise VerificationError(f"got a log of {parsed.deployment}, expected one of {trust.deployment}", step="2")
    return parsed
