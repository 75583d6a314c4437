"""Which runs of a large source are sealed by themselves, so that records that repeat them share their blobs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from collector.large.pieces import LongRun, Pieces
from schemas.shared import MAX_BLOBS, MAX_RUNS, Run, without_runs

SHORTEST_RUN = 32 * 1024
"""Bytes below which a run stays in the rest of its source, where it may be a repeat of earlier records: a blob is an
object, and costs a request."""


def shared_runs(source: Pieces) -> list[LongRun]:
    """The runs of a source that are worth a blob: the longest, in the order of the source."""
    found = sorted((run for run in source.runs if run.stop - run.start >= SHORTEST_RUN), key=_longest_first)
    names: set[str] = set()
    kept: list[LongRun] = []
    for run in found:
        if (len(names) < MAX_BLOBS or run.sha256 in names) and len(kept) < MAX_RUNS:
            names.add(run.sha256)
            kept.append(run)
    return sorted(kept)


def rest_of(source: Pieces, runs: Sequence[LongRun]) -> bytes:
    """The source without its runs."""
    return without_runs(source.chunks(), [(run.start, run.stop) for run in runs])


def placed(runs: Sequence[LongRun], keys: Mapping[str, bytes]) -> tuple[Run, ...]:
    """The runs as their part states them, with the keys of their blobs by hash, in the order of ``keys``."""
    blobs = {sha256: number for number, sha256 in enumerate(keys)}
    found: list[Run] = []
    before = 0
    for run in runs:
        size = run.stop - run.start
        found.append(Run(run.start - before, blobs[run.sha256], size, keys[run.sha256]))
        before += size
    return tuple(found)


class RunOf:
    """A run, as a :class:`schemas.part_streams.Sized`."""

    def __init__(self, source: Pieces, run: LongRun) -> None:
        self._source, self._run = source, run
        self.size = run.stop - run.start

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, in order."""
        return self._source.range(self._run.start, self._run.stop)


def _longest_first(run: LongRun) -> tuple[int, int]:
    return run.start - run.stop, run.start
