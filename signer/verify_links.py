"""How the logs of a shard follow each other (``docs/log-format.md`` §10). Pure.

::

    15  the first log of a shard names no other; each later one names the last checkpoint of the log right before it
    16  it begins at the offset where that one ended; else its genesis says why, and what lies between is on record

A log that is named ends there: if it goes on behind the checkpoint that its successor names, the shard was forked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from schemas.errors import EvidenceIncomplete, VerificationError
from signer.genesis import Genesis
from signer.ledger import shard_logs
from signer.origin import Origin
from signer.verify_tree import KnownHead


@dataclass(frozen=True, slots=True)
class Place:
    """Where a log lies among those of its shard, by bus offsets.

    Attributes:
        since: from where on a destination's records concern this log: 0 for the first, else where the one before ended.
        is_first, is_last: of the shard.
        shared: offsets that another log of the shard has signed too: the topic was created again, or the bus lost them.
        others_end: the highest offset, plus one, that another log of the shard has signed.
    """

    since: int = 0
    is_first: bool = True
    is_last: bool = True
    shared: tuple[range, ...] = ()
    others_end: int = 0


@dataclass(frozen=True, slots=True)
class Links:
    """What the logs of a deployment say of each other.

    Attributes:
        errors: of each log, what is wrong with how it follows.
        heads: of each log, what its successor says of it (step 15, compared by the walk over its tree).
        places: of each log, where it lies.
    """

    errors: dict[str, list[VerificationError]] = field(default_factory=dict)
    heads: dict[str, KnownHead] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)


def check_end(origin: str, head: KnownHead | None, size: int) -> None:
    """Step 15 for a log that has a successor: it ends where that says.

    Raises:
        VerificationError: it goes on.
    """
    if head is not None and size > head.size:
        raise VerificationError(
            f"{origin}: has size {size}, and {head.source} names size {head.size} as its end: it was signed on after "
            "it was closed",
            step="15",
        )


def link(geneses: Mapping[Origin, Genesis], sizes: Mapping[str, int]) -> Links:
    """Steps 15 and 16 as far as genesis documents go, over the logs of shards (not of the anchors).

    Args:
        geneses: the verified documents of all logs that are here.
        sizes: leaves of each log, where its checkpoint is here.
    """
    links = Links()
    for shard in {origin.shard for origin in geneses}:
        logs = shard_logs(list(geneses), shard)
        _follow(links, None, logs[0], geneses)
        for before, origin in pairwise(logs):
            _follow(links, before, origin, geneses)
        spans = {
            origin: _span(geneses[origin], links.heads.get(str(origin)), sizes.get(str(origin))) for origin in logs
        }
        for number, origin in enumerate(logs):
            links.places[str(origin)] = _place(logs, number, spans)
    return links


def _follow(links: Links, before: Origin | None, origin: Origin, geneses: Mapping[Origin, Genesis]) -> None:
    name, genesis = str(origin), geneses[origin]
    previous = genesis.previous
    errors = links.errors.setdefault(name, [])
    if previous is None:
        if before is not None:
            errors.append(VerificationError(f"{name}: names no log before it, and {before} is here", step="15"))
        return
    if before is None or previous.origin != str(before):
        here = previous.origin in map(str, geneses)
        message = f"{name}: follows {previous.origin}"
        errors.append(
            VerificationError(f"{message}, and so does another, or {before} lies between", step="15")
            if here
            else EvidenceIncomplete(f"{message}, which is not here", step="15")
        )
        return
    links.heads[str(before)] = KnownHead(
        previous.size, previous.root, previous.chain, "15", f"the genesis document of {name}"
    )
    seam = _seam(name, genesis, geneses[before].start_offset + previous.size - 1)
    if seam is not None:
        errors.append(seam)


def _seam(name: str, genesis: Genesis, end: int) -> EvidenceIncomplete | None:
    """Step 16: ``end`` is the offset at which the log before ended."""
    start = genesis.start_offset
    if start == end:
        return None
    if start > end:
        what = f"offsets {end} to {start - 1} lie between it and the log before, and were never signed"
    else:
        what = f"offsets {start} to {end - 1} were signed in the log before too, for other messages"
    return EvidenceIncomplete(f"{name}: {what}; its genesis document says why: {genesis.reason}", step="16")


def _span(genesis: Genesis, end: KnownHead | None, size: int | None) -> range:
    """The offsets that a log has signed."""
    leaves = end.size if end is not None else size or 1
    return range(genesis.start_offset, genesis.start_offset + max(leaves - 1, 0))


def _place(logs: list[Origin], number: int, spans: Mapping[Origin, range]) -> Place:
    mine = spans[logs[number]]
    others = [spans[log] for log in logs if log != logs[number]]
    shared = [range(max(mine.start, other.start), min(mine.stop, other.stop)) for other in others]
    return Place(
        min(mine.start, spans[logs[number - 1]].stop) if number else 0,
        number == 0,
        number == len(logs) - 1,
        tuple(part for part in shared if part),
        max((other.stop for other in others), default=0),
    )
