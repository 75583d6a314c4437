"""Every metric, once: its name, its kind, what it says, its labels. The reference page is made from this table.

Names follow Prometheus: ``affidavit_`` first, the unit in the name, ``_total`` at the end of a counter
(https://prometheus.io/docs/practices/naming/). Labels take few values by design: a role, a shard, a sink, a state, a
word from a list of ours. No tenant, no user, no id of a request, and nothing that a sender wrote, is ever a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram", "info"]

PREFIX = "affidavit_"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        name: without :data:`PREFIX`, as it is scraped; of a histogram without ``_bucket``, ``_count``, ``_sum``.
        kind: of a one-hot state ``gauge``, with a label ``state``.
        text: its help text, without a full stop.
        labels: their names.
    """

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return PREFIX + self.name

    def samples(self) -> tuple[str, ...]:
        """The names of its samples, which is what a query speaks of."""
        if self.kind == "histogram":
            return tuple(f"{self.full_name}{suffix}" for suffix in ("_bucket", "_count", "_sum"))
        return (self.full_name,)


BUILD = Family("build_info", "info", "What runs here; always 1", ("version",))
ROLE_READY = Family("role_ready", "gauge", "Whether the role can do its work: 1 or 0; /readyz says why not", ("role",))
ROLE_HEARTBEAT = Family(
    "role_heartbeat_age_seconds", "gauge", "Time since the role's event loop answered last", ("role",)
)
READING_ERRORS = Family(
    "reading_errors_total", "counter", "Snapshots that could not be read while scraping, our bug", ("part",)
)
PROCESS = (BUILD, ROLE_READY, ROLE_HEARTBEAT, READING_ERRORS)

REQUESTS = Family(
    "collector_requests_total",
    "counter",
    "Requests answered, by route (other: no route that takes events) and class of the status",
    ("route", "status"),
)
RECEIVED_BYTES = Family(
    "collector_received_bytes_total", "counter", "Bytes of bodies, as they came, before decompression"
)
ACCEPTED_EVENTS = Family(
    "collector_accepted_events_total",
    "counter",
    "Events made durable, by kind (unparsed: not understood, kept as it came) and gateway format",
    ("kind", "format"),
)
REFUSED = Family(
    "collector_refused_requests_total",
    "counter",
    "Requests to a route that were not acknowledged, by reason",
    ("reason",),
)
ACKNOWLEDGEMENT = Family(
    "collector_acknowledgement_seconds",
    "histogram",
    "Time from the end of a request's head to its 2xx answer: everything in it is durable",
    ("route",),
)
IN_FLIGHT = Family("collector_in_flight_bytes", "gauge", "Bytes of bodies between arrival and acknowledgement")
IN_FLIGHT_LIMIT = Family("collector_in_flight_limit_bytes", "gauge", "Bytes in flight above which the answer is 503")
SPOOLED_BODIES = Family("collector_spooled_body_bytes", "gauge", "Disk that large bodies take while they are recorded")
COLLECTOR = (
    REQUESTS,
    RECEIVED_BYTES,
    ACCEPTED_EVENTS,
    REFUSED,
    ACKNOWLEDGEMENT,
    IN_FLIGHT,
    IN_FLIGHT_LIMIT,
    SPOOLED_BODIES,
)

BUS_ERRORS = Family(
    "bus_errors_total", "counter", "Calls of the bus that failed, by call and class of the error", ("call", "error")
)
BUS = (BUS_ERRORS,)

SPOOL_RECORDS = Family("spool_records", "gauge", "Records that are durable in the spool and not on the bus yet")
SPOOL_BYTES = Family("spool_bytes", "gauge", "Bytes of these records")
SPOOL_LIMIT = Family("spool_limit_bytes", "gauge", "Bytes above which nothing more is spooled, and the answer is 503")
SPOOL_AGE = Family("spool_oldest_age_seconds", "gauge", "Age of the oldest record in the spool; 0 when it is empty")
SPOOL_AGE_LIMIT = Family("spool_limit_age_seconds", "gauge", "Age that the oldest record in the spool should not reach")
SPOOL_DRAINING = Family("spool_draining", "gauge", "Whether records are on their way from the spool to the bus: 1 or 0")
SPOOL_BUS_STATE = Family(
    "spool_bus_state", "gauge", "State of the bus as the spool sees it: 1 for the state it is in, else 0", ("state",)
)
SPOOLED = Family("spool_spooled_records_total", "counter", "Records that went into the spool")
DRAINED = Family("spool_drained_records_total", "counter", "Records that went from the spool to the bus")
SPOOL_REFUSED = Family(
    "spool_refused_records_total", "counter", "Records that neither the bus nor the spool could take"
)
SPOOL = (
    SPOOL_RECORDS,
    SPOOL_BYTES,
    SPOOL_LIMIT,
    SPOOL_AGE,
    SPOOL_AGE_LIMIT,
    SPOOL_DRAINING,
    SPOOL_BUS_STATE,
    SPOOLED,
    DRAINED,
    SPOOL_REFUSED,
)

SIGNED_LEAVES = Family("signer_signed_leaves", "gauge", "Size of the shard's open log", ("shard",))
SIGNER_OFFSET = Family("signer_next_offset", "gauge", "Next offset of the bus to be signed", ("shard",))
SIGNER_LAG = Family("signer_lag_records", "gauge", "Records on the bus that are not signed", ("shard",))
UNSIGNED_AGE = Family(
    "signer_unsigned_age_seconds", "gauge", "Age of the oldest record that is not signed; 0 without one", ("shard",)
)
BATCH_RECORDS = Family("signer_batch_records", "histogram", "Records in a signed batch", ("shard",))
BATCH_SECONDS = Family(
    "signer_batch_seconds", "histogram", "Time to hash, sign and publish a batch of records", ("shard",)
)
SWAP_LOSSES = Family(
    "signer_swap_losses_total", "counter", "Times that another signer of the shard had been faster", ("shard",)
)
STEPS_BACK = Family(
    "signer_steps_back_total", "counter", "Records whose bus time lay below that of one before them", ("shard",)
)
SIGNER_STATE = Family(
    "signer_state", "gauge", "State of the shard's signer: 1 for the state it is in, else 0", ("shard", "state")
)
SIGNER_HALTED = Family(
    "signer_halted", "gauge", "Whether the shard met a contradiction and waits for a person: 1 or 0", ("shard",)
)
SIGNER = (
    SIGNED_LEAVES,
    SIGNER_OFFSET,
    SIGNER_LAG,
    UNSIGNED_AGE,
    BATCH_RECORDS,
    BATCH_SECONDS,
    SWAP_LOSSES,
    STEPS_BACK,
    SIGNER_STATE,
    SIGNER_HALTED,
)

ANCHOR_LEAVES = Family("anchor_signed_leaves", "gauge", "Size of the anchor log")
ANCHOR_AGE = Family("anchor_set_age_seconds", "gauge", "Age of the last checkpoint set in the anchor log")
ANCHOR_LOGS = Family("anchor_covered_logs", "gauge", "Logs that the last checkpoint set lists")
ANCHOR_SETS = Family("anchor_sets_total", "counter", "Checkpoint sets that this process took")
ANCHOR_STATE = Family("anchor_state", "gauge", "State of the anchor log: 1 for the state it is in, else 0", ("state",))
_OUTSIDE = ("kind", "anchor")
OUTSIDE_LEAVES = Family(
    "outside_anchored_leaves", "gauge", "Size of the largest head that an anchor vouched for to this process", _OUTSIDE
)
OUTSIDE_AGE = Family(
    "outside_anchored_age_seconds",
    "gauge",
    "Time since an anchor vouched for a head; absent before the first",
    _OUTSIDE,
)
ATTESTATIONS = Family("outside_attestations_total", "counter", "Heads that an anchor vouched for", _OUTSIDE)
OUTSIDE_FAILURES = Family(
    "outside_failures_total",
    "counter",
    "Attempts that failed: the anchor was out of reach (unreachable), said no or something wrong (refused)",
    (*_OUTSIDE, "reason"),
)
ANCHOR = (ANCHOR_LEAVES, ANCHOR_LOGS, ANCHOR_AGE, ANCHOR_SETS, ANCHOR_STATE)
OUTSIDE = (OUTSIDE_LEAVES, OUTSIDE_AGE, ATTESTATIONS, OUTSIDE_FAILURES)

_SINK = ("sink", "shard")
SINK_POSITION = Family(
    "sink_position_offset", "gauge", "Everything before this offset is in the destination or in the dead letter", _SINK
)
SINK_LAG = Family("sink_lag_records", "gauge", "Records on the bus that the sink has yet to deliver", _SINK)
SINK_UNSETTLED = Family(
    "sink_unsettled_records", "gauge", "Records that the destination took and has not confirmed yet", _SINK
)
DELIVERED = Family("sink_delivered_records_total", "counter", "Records delivered", _SINK)
REJECTED = Family("sink_rejected_records_total", "counter", "Records that went to the dead letter", _SINK)
RETRIES = Family("sink_retries_total", "counter", "Calls that failed and were, or will be, repeated", _SINK)
SINK_BATCHES = Family("sink_batches_total", "counter", "Batches delivered", _SINK)
SINK_BYTES = Family("sink_delivered_bytes_total", "counter", "Bytes of record values in delivered batches", _SINK)
SINK_LAST_BATCH = Family("sink_last_batch_records", "gauge", "Records in the batch that was delivered last", _SINK)
DELIVER_SECONDS = Family(
    "sink_deliver_seconds_total", "counter", "Time spent in calls of the destination, whatever came of them", _SINK
)
SINK_STATE = Family(
    "sink_state",
    "gauge",
    "State of the shard in this sink: 1 for the state it is in, else 0",
    ("sink", "shard", "state"),
)
SINK_PAUSED = Family(
    "sink_paused_seconds", "gauge", "How long the shard has been waiting for a person; 0 when it is not", _SINK
)
SINKS = (
    SINK_POSITION,
    SINK_LAG,
    SINK_UNSETTLED,
    DELIVERED,
    REJECTED,
    RETRIES,
    SINK_BATCHES,
    SINK_BYTES,
    SINK_LAST_BATCH,
    DELIVER_SECONDS,
    SINK_STATE,
    SINK_PAUSED,
)

FEED_STATE = Family(
    "feed_state", "gauge", "State of a feed that is asked: 1 for the state it is in, else 0", ("feed", "state")
)
FEED_LAG = Family("feed_lag_seconds", "gauge", "Time since which a feed was not read to its end", ("feed",))
FEED_PAGES = Family("feed_pages_total", "counter", "Answers of a feed that are durable", ("feed",))
FEED_RECORDS = Family("feed_records_total", "counter", "Records in them, repeats included", ("feed",))
FEED_ERRORS = Family("feed_errors_total", "counter", "Tries that failed, by class of error", ("feed", "error"))
FEEDS = (FEED_STATE, FEED_LAG, FEED_PAGES, FEED_RECORDS, FEED_ERRORS)

FILE_COUNT = Family("file_followed", "gauge", "Files that are followed under a name of the settings", ("files",))
FILE_LAG = Family("file_lag_bytes", "gauge", "Bytes in them that are not durable yet", ("files",))
FILE_LINES = Family("file_lines_total", "counter", "Lines that are durable", ("files",))
FILE_BYTES = Family("file_read_bytes_total", "counter", "Bytes of them", ("files",))
FILE_ROTATIONS = Family("file_rotations_total", "counter", "Times that a file took the name of another", ("files",))
FILE_TRUNCATIONS = Family("file_truncations_total", "counter", "Times that a file became shorter", ("files",))
FILE_OVERLONG = Family("file_overlong_lines_total", "counter", "Lines of which only the beginning was kept", ("files",))
FILE_FAILING = Family("file_failing", "gauge", "Whether something keeps them from being read: 1 or 0", ("files",))
FILES = (
    FILE_COUNT,
    FILE_LAG,
    FILE_LINES,
    FILE_BYTES,
    FILE_ROTATIONS,
    FILE_TRUNCATIONS,
    FILE_OVERLONG,
    FILE_FAILING,
)

PROXY_OPEN = Family("proxy_open_exchanges", "gauge", "Requests that are being answered")
PROXY_WAITING = Family("proxy_waiting_exchanges", "gauge", "Exchanges that have passed and are not durable yet")
PROXY_COPIES = Family("proxy_copies_bytes", "gauge", "Bytes of bodies held until they are durable", ("where",))
PROXY_RECORDED = Family("proxy_recorded_exchanges_total", "counter", "Exchanges that are durable")
PROXY_EARLY = Family("proxy_early_records_total", "counter", "Requests recorded before they were answered")
PROXY_LOST = Family("proxy_lost_exchanges_total", "counter", "Exchanges that passed and could not be recorded")
PROXY = (PROXY_OPEN, PROXY_WAITING, PROXY_COPIES, PROXY_RECORDED, PROXY_EARLY, PROXY_LOST)

SECTIONS: tuple[tuple[str, tuple[Family, ...]], ...] = (
    ("Process", PROCESS),
    ("Collector", COLLECTOR),
    ("Files", FILES),
    ("Feeds", FEEDS),
    ("Proxy", PROXY),
    ("Spool", SPOOL),
    ("Bus", BUS),
    ("Signer", SIGNER),
    ("Anchor", ANCHOR),
    ("Anchors from outside", OUTSIDE),
    ("Sinks", SINKS),
)
"""All of them, as the reference page groups them."""
