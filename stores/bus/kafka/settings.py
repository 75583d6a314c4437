"""What our topics must be set to, and what is said when they are not (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.errors import ConfigurationError
from schemas.ids import CONTROL, DEADLETTER
from stores.bus.kafka.config import KafkaConfig

CLEANUP = "cleanup.policy"
TIMESTAMP = "message.timestamp.type"
UNCLEAN = "unclean.leader.election.enable"
MIN_INSYNC = "min.insync.replicas"
RETENTION_MS = "retention.ms"
RETENTION_BYTES = "retention.bytes"
MAX_MESSAGE = "max.message.bytes"

WATCHED = (CLEANUP, TIMESTAMP, UNCLEAN, MIN_INSYNC, RETENTION_MS, RETENTION_BYTES, MAX_MESSAGE)

FOR_EVER = -1


@dataclass(frozen=True, slots=True)
class Found:
    """A topic as it is: partitions, the fewest replicas of any partition, and its settings."""

    partitions: int
    replicas: int
    settings: Mapping[str, str]


def wanted(config: KafkaConfig) -> dict[str, str]:
    """The settings that topics are created with."""
    topics = config.topics
    return {
        CLEANUP: "delete",
        TIMESTAMP: "LogAppendTime",
        UNCLEAN: "false",
        MIN_INSYNC: str(topics.min_insync),
        RETENTION_MS: str(topics.retention_ms),
        RETENTION_BYTES: str(topics.retention_bytes),
        MAX_MESSAGE: str(topics.max_message_bytes),
    }


def check_topics(config: KafkaConfig, found: Mapping[str, Found]) -> None:
    """Compare topics, by our names, with what they must be.

    Raises:
        ConfigurationError: with all that is wrong, and the commands that mend it.
    """
    wrong = [line for name, kafka_name in _names(config) for line in _faults(config, name, kafka_name, found.get(name))]
    if wrong:
        raise ConfigurationError("; ".join(wrong))


def _names(config: KafkaConfig) -> list[tuple[str, str]]:
    return [(name, kafka_name) for kafka_name, name in config.kafka_topics.items()]


def _faults(config: KafkaConfig, name: str, topic: str, found: Found | None) -> list[str]:
    if found is None:
        return [f"Kafka at {config.bootstrap} has no topic {topic}; run affidavit init, or {_create(config, name)}"]
    faults = _count_faults(config, name, topic, found)
    want = wanted(config)
    for setting in WATCHED:
        got = found.settings.get(setting)
        if got is not None and not _good(setting, got, want[setting]):
            at_least = "" if setting in (CLEANUP, TIMESTAMP, UNCLEAN) else "at least "
            faults.append(
                f"topic {topic}: got {setting}={got}, expected {at_least}{want[setting]} ({_WHY[setting]}); "
                f"run {_alter(config, topic, setting, want[setting])}"
            )
    return faults


def _count_faults(config: KafkaConfig, name: str, topic: str, found: Found) -> list[str]:
    faults = []
    expected = config.partitions(name)
    if name in (CONTROL, DEADLETTER) and found.partitions != expected:
        faults.append(
            f"topic {topic}: got {found.partitions} partitions, expected exactly {expected}; "
            f"partitions cannot be taken away: kafka-topics.sh --bootstrap-server {config.bootstrap} --delete "
            f"--topic {topic} (while it is empty), then {_create(config, name)}"
        )
    if name not in (CONTROL, DEADLETTER) and found.partitions < expected:
        faults.append(
            f"topic {topic}: got {found.partitions} partitions, expected at least {expected}; run kafka-topics.sh "
            f"--bootstrap-server {config.bootstrap} --alter --topic {topic} --partitions {expected}"
        )
    insync = _number(found.settings.get(MIN_INSYNC, "1"))
    if found.replicas < max(insync, config.topics.min_insync):
        faults.append(
            f"topic {topic}: got replication factor {found.replicas}, expected at least "
            f"{max(insync, config.topics.min_insync)}, which min.insync.replicas demands: nothing could be written; "
            f"run kafka-reassign-partitions.sh --bootstrap-server {config.bootstrap} --execute "
            f"--reassignment-json-file FILE with more replicas, or lower min.insync.replicas"
        )
    return faults


_WHY = {
    CLEANUP: "compaction leaves gaps in the log",
    TIMESTAMP: "the ledger's time is the broker's",
    UNCLEAN: "an unclean leader loses what was signed",
    MIN_INSYNC: "what was acknowledged must outlive a broker",
    RETENTION_MS: "the slowest consumer must find its messages",
    RETENTION_BYTES: "the slowest consumer must find its messages",
    MAX_MESSAGE: "the largest inline record must fit",
}


def _good(setting: str, got: str, want: str) -> bool:
    if setting in (CLEANUP, TIMESTAMP, UNCLEAN):
        return got == want
    number, least = _number(got), _number(want)
    if setting in (RETENTION_MS, RETENTION_BYTES):
        return number == FOR_EVER or (least != FOR_EVER and number >= least)
    return number >= least


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"got topic setting {text!r}, expected a number") from None


def _alter(config: KafkaConfig, topic: str, setting: str, value: str) -> str:
    return (
        f"kafka-configs.sh --bootstrap-server {config.bootstrap} --alter --entity-type topics "
        f"--entity-name {topic} --add-config {setting}={value}"
    )


def _create(config: KafkaConfig, name: str) -> str:
    settings = " ".join(f"--config {setting}={value}" for setting, value in wanted(config).items())
    return (
        f"kafka-topics.sh --bootstrap-server {config.bootstrap} --create --topic {config.topic(name)} "
        f"--partitions {config.partitions(name)} --replication-factor {config.topics.replication} {settings}"
    )
