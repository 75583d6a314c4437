"""From settings to what the clients of servers take: Kafka, S3, ClickHouse. Secrets leave their wrapping here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affidavit.settings import Settings
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from sinks.clickhouse.server import Server
    from stores.bus.kafka import KafkaBus
    from stores.bus.kafka.config import KafkaConfig
    from stores.bus.spool import SpoolLimits
    from stores.objects.s3_config import S3Config

HOUR_MS = 3_600_000
RECORD_OVERHEAD = 1024
"""Bytes that Kafka adds to key, value and headers, at most: what is spooled must fit the topic later."""


def kafka_config(settings: Settings, partitions: int) -> KafkaConfig:
    """The cluster of ``settings.bus``, with ``partitions`` of the events topic when it is created.

    Raises:
        ConfigurationError: what is set does not go together.
    """
    from stores.bus.kafka.config import KafkaConfig, KafkaSecurity, KafkaTopics
    from stores.bus.kafka.security import msk_iam_token

    own = settings.bus
    iam = own.mechanism == "AWS_MSK_IAM"
    security = KafkaSecurity(
        own.security or "PLAINTEXT",
        own.ca_file,
        own.cert_file,
        own.key_file,
        _plain(own.key_password),
        "OAUTHBEARER" if own.mechanism == "AWS_MSK_IAM" else own.mechanism,
        own.username or None,
        _plain(own.password),
        msk_iam_token(own.region) if iam else None,
    )
    topics = KafkaTopics(
        partitions=partitions,
        replication=own.replication,
        min_insync=own.min_insync,
        retention_ms=int(own.retention_hours * HOUR_MS),
        max_message_bytes=own.max_message_bytes,
    )
    return KafkaConfig(
        own.kafka,
        own.topic_prefix,
        security,
        topics,
        own.compression,
        append_seconds=own.append_seconds,
        session_seconds=own.session_seconds,
        rebalance_seconds=own.rebalance_seconds,
    )


def kafka_bus(settings: Settings, partitions: int) -> KafkaBus:
    """A bus on that cluster.

    Raises:
        ConfigurationError: Kafka's client is not installed, or what is set does not go together.
    """
    try:
        from stores.bus.kafka import KafkaBus
    except ImportError as error:
        raise ConfigurationError(f"bus.kafka is set, and {error.name} is missing: install affidavit[kafka]") from None
    return KafkaBus(kafka_config(settings, partitions))


def s3_config(settings: Settings) -> S3Config:
    """The bucket of ``settings.objects``."""
    from stores.objects.s3_config import S3Config

    own = settings.objects
    return S3Config(
        own.bucket,
        own.prefix.strip("/"),
        own.endpoint or None,
        own.region or None,
        own.access_key or None,
        _plain(own.secret_key),
        ca_file=own.ca_file,
    )


def clickhouse_server(settings: Settings) -> Server:
    """The server of ``settings.clickhouse``."""
    from sinks.clickhouse.server import Server

    own = settings.clickhouse
    return Server(own.url, own.username, _plain(own.password) or "", own.database, own.ca_file)


def spool_limits(settings: Settings) -> SpoolLimits:
    """How much a collector may keep while the bus is away."""
    from stores.bus.spool import SpoolLimits

    own = settings.spool
    largest = settings.bus.max_message_bytes - RECORD_OVERHEAD
    return SpoolLimits(own.max_bytes, own.max_hours * 3600, max_message_bytes=largest)


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
