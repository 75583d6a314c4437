"""What must be known to reach a Kafka cluster, and what its topics must promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from schemas.errors import ConfigurationError
from schemas.ids import CONTROL, DEADLETTER, EVENTS, TOPICS

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
Compression = Literal["none", "lz4", "zstd"]

PROTOCOLS: tuple[Protocol, ...] = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: tuple[Mechanism, ...] = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
COMPRESSIONS: tuple[Compression, ...] = ("none", "lz4", "zstd")

WEEK_MS = 7 * 24 * 3600 * 1000

ENVELOPE_BYTES = 1024
"""Room for key, headers and batch header beside a record's value, in what a topic must accept."""


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How to prove who both sides are.

    Attributes:
        protocol: of the listener.
        ca_file: certificates to trust instead of the system's; PEM.
        certificate_file, key_file, key_password: our own certificate, for listeners that want one; PEM.
        mechanism: of SASL, when the protocol has it.
        username, password: for ``PLAIN`` and ``SCRAM``.
        token: for ``OAUTHBEARER``: returns a fresh token; called in a thread, once per connection.
            :func:`stores.bus.kafka.security.msk_iam_token` makes one for AWS MSK.
    """

    protocol: Protocol = "PLAINTEXT"
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    mechanism: Mechanism | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: Callable[[], str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ConfigurationError(f"got Kafka security protocol {self.protocol!r}, expected {_one_of(PROTOCOLS)}")
        if not self.protocol.startswith("SASL"):
            if self.mechanism is not None:
                raise ConfigurationError(
                    f"got SASL mechanism {self.mechanism} with protocol {self.protocol}, "
                    "expected SASL_SSL (or SASL_PLAINTEXT); set the security protocol"
                )
            return
        if self.mechanism not in MECHANISMS:
            raise ConfigurationError(f"got SASL mechanism {self.mechanism!r}, expected {_one_of(MECHANISMS)}")
        if self.mechanism == "OAUTHBEARER":
            if self.token is None:
                raise ConfigurationError("SASL mechanism OAUTHBEARER needs a token provider, got none")
        elif not self.username or not self.password:
            raise ConfigurationError(f"SASL mechanism {self.mechanism} needs a user name and a password")


@dataclass(frozen=True, slots=True)
class KafkaTopics:
    """What topics are created with, and what is demanded of topics that are there.

    Attributes:
        partitions: shards of the events topic when it is created. An existing topic may have more, never fewer.
        replication: copies when a topic is created.
        min_insync: copies that must have a message before it is acknowledged; demanded as a minimum.
        retention_ms: how long messages must stay: as long as the slowest consumer may be away. −1 is for ever.
        retention_bytes: per shard, likewise; −1 is without limit.
        max_message_bytes: the largest message; a record of the largest inline size and its headers must fit.
    """

    partitions: int = 6
    replication: int = 3
    min_insync: int = 2
    retention_ms: int = WEEK_MS
    retention_bytes: int = -1
    max_message_bytes: int = 1024 * 1024 + ENVELOPE_BYTES

    def __post_init__(self) -> None:
        if self.partitions < 1:
            raise ConfigurationError(f"got {self.partitions} partitions, expected at least 1")
        if not 1 <= self.min_insync <= self.replication:
            raise ConfigurationError(
                f"got min.insync.replicas {self.min_insync} with replication factor {self.replication}, "
                "expected 1 <= min.insync.replicas <= replication factor"
            )


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """A cluster, our topics on it, and how long we wait for it.

    Attributes:
        bootstrap: ``host:port`` of some brokers, joined by commas.
        prefix: before our topic names and group names.
        security: see :class:`KafkaSecurity`.
        topics: see :class:`KafkaTopics`.
        compression: of what we write. Records are ciphertext of compressed plaintext, so that compressing again
            gains next to nothing (``python -m bench kafka_bus``).
        client_id: a name for the broker's logs and quotas.
        append_seconds: after this time an append gives up with ``Unavailable``.
        request_seconds: likewise everything else that is asked of a broker.
        session_seconds: a process that is silent for longer loses its shards. Brokers allow 6 s to 30 min by default.
        rebalance_seconds: how long the others wait for one that has to give up shards.
        queue_bytes: how much may wait to be written before appends get ``Unavailable`` at once.
    """

    bootstrap: str
    prefix: str = "affidavit."
    security: KafkaSecurity = field(default_factory=KafkaSecurity)
    topics: KafkaTopics = field(default_factory=KafkaTopics)
    compression: Compression = "none"
    client_id: str = "affidavit"
    append_seconds: float = 5.0
    request_seconds: float = 10.0
    session_seconds: float = 10.0
    rebalance_seconds: float = 60.0
    queue_bytes: int = 128 * 1024 * 1024

    def __post_init__(self) -> None:
        for part in self.bootstrap.split(","):
            host, colon, port = part.strip().rpartition(":")
            if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                raise ConfigurationError(f"got Kafka bootstrap server {part!r}, expected host:port,host:port …")
        if self.compression not in COMPRESSIONS:
            raise ConfigurationError(f"got Kafka compression {self.compression!r}, expected {_one_of(COMPRESSIONS)}")
        for name in ("append_seconds", "request_seconds", "session_seconds", "rebalance_seconds"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"got {name} {getattr(self, name)}, expected more than 0")

    @property
    def hosts(self) -> list[tuple[str, int]]:
        """The bootstrap servers, parsed."""
        pairs = [part.strip().rpartition(":") for part in self.bootstrap.split(",")]
        return [(host.strip("[]"), int(port)) for host, _, port in pairs]

    def topic(self, name: str) -> str:
        """Kafka's name of one of :data:`schemas.ids.TOPICS`."""
        return f"{self.prefix}{name}"

    def partitions(self, name: str) -> int:
        """How many shards a topic is created with: one log of control events, one queue of dead letters."""
        return {EVENTS: self.topics.partitions, CONTROL: 1, DEADLETTER: 1}[name]

    @property
    def kafka_topics(self) -> dict[str, str]:
        """Kafka's name of each topic → ours."""
        return {self.topic(name): name for name in TOPICS}

    def members_group(self, group: str) -> str:
        """The consumer group in which processes share shards. It holds no offsets."""
        return f"{self.prefix}{group}.members"

    def offsets_group(self, group: str) -> str:
        """The consumer group that holds the hints, and has no members: while a group has members, its coordinator
        takes offsets from these alone."""
        return f"{self.prefix}{group}"


def _one_of(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
