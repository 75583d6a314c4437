"""From one reading to metric families. Pure: the same reading and the same time give the same text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import get_args

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from affidavit.monitor import families as names
from affidavit.monitor.families import Family
from affidavit.monitor.histogram import Distribution
from affidavit.monitor.readiness import anchors_here, unready
from affidavit.monitor.readings import (
    CollectorReading,
    Reading,
    SpoolReading,
)
from affidavit.monitor.signing import ShardBatches
from collector.files.tail import TailSnapshot
from collector.poll.runner import FeedStatus
from collector.proxy.app import ProxySnapshot
from signer.state import AnchorState, SignerState
from signer.state import State as SigningState
from sinks.snapshot import ShardSnapshot, Snapshot
from sinks.snapshot import State as SinkState
from stores.bus.spool import BusState

SIGNER_STATES: tuple[str, ...] = get_args(SigningState)
SINK_STATES: tuple[str, ...] = get_args(SinkState)
BUS_STATES: tuple[str, ...] = get_args(BusState)
FEED_STATES = ("reading", "waiting", "failing", "refused", "elsewhere", "stopped")

Labelled = Iterable[tuple[Sequence[str], float]]


def expose(reading: Reading, now: float) -> Iterator[Metric]:
    """Every family that the reading speaks of.

    Args:
        now: seconds since 1970 UTC, for ages.
    """
    yield from _process(reading)
    if reading.collector is not None:
        yield from _collector(reading.collector)
    if reading.spool is not None:
        yield from _spool(reading.spool, now)
    if reading.files:
        yield from _files(reading.files)
    if reading.feeds:
        yield from _feeds(reading.feeds)
    if reading.proxy is not None:
        yield from _proxy(reading.proxy)
    yield counter(names.BUS_ERRORS, reading.bus_errors.items())
    if reading.signer is not None:
        yield from _signer(reading.signer)
        yield from _batches(reading.batches)
        if anchors_here(reading.signer):
            yield from _anchor(reading.signer.anchors, now)
    if reading.sinks:
        yield from _sinks(list(reading.sinks.values()), now)


def _process(reading: Reading) -> Iterator[Metric]:
    build = InfoMetricFamily(names.BUILD.full_name.removesuffix("_info"), names.BUILD.text)
    build.add_metric([], {"version": reading.version})
    yield build
    away = {finding.role for finding in unready(reading)}
    yield gauge(names.ROLE_READY, [((one.role,), one.role not in away) for one in reading.roles])
    yield gauge(names.ROLE_HEARTBEAT, [((one.role,), one.silence) for one in reading.roles])
    yield counter(names.READING_ERRORS, [((part,), count) for part, count in sorted(reading.failed.items())])


def _collector(collector: CollectorReading) -> Iterator[Metric]:
    received = collector.received
    yield counter(names.REQUESTS, sorted(received.requests.items()))
    yield counter(names.RECEIVED_BYTES, [((), received.received_bytes)])
    yield counter(names.ACCEPTED_EVENTS, sorted(received.accepted.items()))
    yield counter(names.REFUSED, [((reason,), count) for reason, count in received.refused.items()])
    yield histogram(names.ACKNOWLEDGEMENT, [((route,), spread) for route, spread in received.acknowledgement.items()])
    yield gauge(names.IN_FLIGHT, [((), collector.in_flight)])
    yield gauge(names.IN_FLIGHT_LIMIT, [((), collector.limit)])
    yield gauge(names.SPOOLED_BODIES, [((), collector.spooled)])


def _spool(spool: SpoolReading, now: float) -> Iterator[Metric]:
    state = spool.state
    yield gauge(names.SPOOL_RECORDS, [((), state.records)])
    yield gauge(names.SPOOL_BYTES, [((), state.bytes)])
    yield gauge(names.SPOOL_LIMIT, [((), spool.limits.max_bytes)])
    yield gauge(names.SPOOL_AGE, [((), age(state.oldest_ms, now))])
    yield gauge(names.SPOOL_AGE_LIMIT, [((), spool.limits.max_age_seconds)])
    yield gauge(names.SPOOL_DRAINING, [((), state.draining)])
    yield gauge(names.SPOOL_BUS_STATE, one_hot((), state.bus_state, BUS_STATES))
    yield counter(names.SPOOLED, [((), state.spooled_total)])
    yield counter(names.DRAINED, [((), state.drained_total)])
    yield counter(names.SPOOL_REFUSED, [((), state.refused_total)])


def _files(files: Mapping[str, TailSnapshot]) -> Iterator[Metric]:
    yield gauge(names.FILE_COUNT, [((name,), one.files) for name, one in files.items()])
    yield gauge(names.FILE_LAG, [((name,), one.lag_bytes) for name, one in files.items()])
    yield counter(names.FILE_LINES, [((name,), one.lines) for name, one in files.items()])
    yield counter(names.FILE_BYTES, [((name,), one.read_bytes) for name, one in files.items()])
    yield counter(names.FILE_ROTATIONS, [((name,), one.rotations) for name, one in files.items()])
    yield counter(names.FILE_TRUNCATIONS, [((name,), one.truncations) for name, one in files.items()])
    yield counter(names.FILE_OVERLONG, [((name,), one.overlong) for name, one in files.items()])
    yield gauge(names.FILE_FAILING, [((name,), bool(one.problem)) for name, one in files.items()])


def _feeds(feeds: Sequence[FeedStatus]) -> Iterator[Metric]:
    lags = [((one.name,), one.lag_seconds) for one in feeds if one.lag_seconds is not None]
    errors = [((one.name, error), count) for one in feeds for error, count in sorted(one.errors.items())]
    yield gauge(names.FEED_STATE, [hot for one in feeds for hot in one_hot((one.name,), one.state, FEED_STATES)])
    yield gauge(names.FEED_LAG, lags)
    yield counter(names.FEED_PAGES, [((one.name,), one.pages) for one in feeds])
    yield counter(names.FEED_RECORDS, [((one.name,), one.records) for one in feeds])
    yield counter(names.FEED_ERRORS, errors)


def _proxy(proxy: ProxySnapshot) -> Iterator[Metric]:
    recorder = proxy.recorder
    copies = [(("memory",), proxy.memory_bytes), (("disk",), proxy.disk_bytes)]
    yield gauge(names.PROXY_OPEN, [((), recorder.open)])
    yield gauge(names.PROXY_WAITING, [((), recorder.waiting)])
    yield gauge(names.PROXY_COPIES, copies)
    yield counter(names.PROXY_RECORDED, [((), recorder.recorded)])
    yield counter(names.PROXY_EARLY, [((), recorder.early)])
    yield counter(names.PROXY_LOST, [((), recorder.lost)])


def _signer(signer: SignerState) -> Iterator[Metric]:
    shards = [((str(one.shard),), one) for one in signer.shards]
    yield gauge(names.SIGNED_LEAVES, [(at, one.size) for at, one in shards])
    yield gauge(names.SIGNER_OFFSET, [(at, one.next_offset) for at, one in shards])
    yield gauge(names.SIGNER_LAG, [(at, max(0, one.bus_end - one.next_offset)) for at, one in shards])
    yield gauge(names.UNSIGNED_AGE, [(at, one.unsigned_age_seconds) for at, one in shards])
    yield counter(names.SWAP_LOSSES, [(at, one.swap_losses) for at, one in shards])
    yield counter(names.STEPS_BACK, [(at, one.steps_back) for at, one in shards])
    yield gauge(names.SIGNER_STATE, [hot for at, one in shards for hot in one_hot(at, one.state, SIGNER_STATES)])
    yield gauge(names.SIGNER_HALTED, [(at, one.state == "halted") for at, one in shards])


def _batches(batches: Sequence[ShardBatches]) -> Iterator[Metric]:
    yield histogram(names.BATCH_RECORDS, [((str(one.shard),), one.records) for one in batches])
    yield histogram(names.BATCH_SECONDS, [((str(one.shard),), one.seconds) for one in batches])


def _anchor(anchors: AnchorState, now: float) -> Iterator[Metric]:
    yield gauge(names.ANCHOR_LEAVES, [((), anchors.size)])
    yield gauge(names.ANCHOR_LOGS, [((), anchors.logs)])
    yield gauge(names.ANCHOR_AGE, [((), anchors.age_seconds)] if anchors.last_ms else [])
    yield counter(names.ANCHOR_SETS, [((), anchors.sets)])
    yield gauge(names.ANCHOR_STATE, one_hot((), anchors.state, SIGNER_STATES))
    outside = [((one.kind, one.name), one) for one in anchors.outside]
    yield gauge(names.OUTSIDE_LEAVES, [(at, one.last_size) for at, one in outside])
    yield gauge(names.OUTSIDE_AGE, [(at, age(one.last_ms, now)) for at, one in outside if one.last_ms])
    yield counter(names.ATTESTATIONS, [(at, one.attestations) for at, one in outside])
    unreachable = [((*at, "unreachable"), one.failures) for at, one in outside]
    refused = [((*at, "refused"), one.refusals) for at, one in outside]
    yield counter(names.OUTSIDE_FAILURES, [*unreachable, *refused])


def _sinks(sinks: Sequence[Snapshot], now: float) -> Iterator[Metric]:
    """Gauges of the shards that a sink owns; counters of those that it gave up too, so that none ever falls."""
    owned = [((sink.sink, str(one.shard)), one) for sink in sinks for one in sink.shards]
    every = owned + [((sink.sink, str(one.shard)), one) for sink in sinks for one in sink.former]
    yield gauge(names.SINK_POSITION, [(at, one.position) for at, one in owned])
    yield gauge(names.SINK_LAG, [(at, one.lag) for at, one in owned])
    yield gauge(names.SINK_UNSETTLED, [(at, one.unsettled) for at, one in owned])
    yield gauge(names.SINK_LAST_BATCH, [(at, one.last_records) for at, one in owned])
    yield gauge(names.SINK_STATE, [hot for at, one in owned for hot in one_hot(at, one.state, SINK_STATES)])
    yield gauge(names.SINK_PAUSED, [(at, _paused(one, now)) for at, one in owned])
    yield counter(names.DELIVERED, [(at, one.delivered) for at, one in every])
    yield counter(names.REJECTED, [(at, one.rejected) for at, one in every])
    yield counter(names.RETRIES, [(at, one.retries) for at, one in every])
    yield counter(names.SINK_BATCHES, [(at, one.batches) for at, one in every])
    yield counter(names.SINK_BYTES, [(at, one.bytes) for at, one in every])
    yield counter(names.DELIVER_SECONDS, [(at, one.deliver_seconds) for at, one in every])


def _paused(shard: ShardSnapshot, now: float) -> float:
    return max(0.0, now - shard.paused_since) if shard.paused_since is not None else 0.0


def age(then_ms: int | None, now: float) -> float:
    """Seconds since then; 0 for never, and for clocks that differ."""
    return max(0.0, now - then_ms / 1000) if then_ms is not None else 0.0


def one_hot(labels: Sequence[str], state: str, known: Sequence[str]) -> list[tuple[Sequence[str], float]]:
    """1 for the state that it is, 0 for the others that it could be."""
    states = known if state in known else (*known, state)
    return [((*labels, one), float(one == state)) for one in states]


def gauge(family: Family, samples: Labelled) -> Metric:
    """A gauge with these values."""
    metric = GaugeMetricFamily(family.full_name, family.text, labels=family.labels)
    for labels, value in samples:
        metric.add_metric(labels, float(value))
    return metric


def counter(family: Family, samples: Labelled | Iterable[tuple[tuple[str, str], int]]) -> Metric:
    """A counter with these values."""
    metric = CounterMetricFamily(family.full_name, family.text, labels=family.labels)
    for labels, value in samples:
        metric.add_metric(labels, float(value))
    return metric


def histogram(family: Family, samples: Iterable[tuple[Sequence[str], Distribution]]) -> Metric:
    """A histogram with these distributions."""
    metric = HistogramMetricFamily(family.full_name, family.text, labels=family.labels)
    for labels, spread in samples:
        metric.add_metric(labels, spread.cumulative(), spread.total)
    return metric
