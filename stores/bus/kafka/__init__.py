"""The bus on Apache Kafka: for more than one machine. See :mod:`stores.bus` for the contract."""

from __future__ import annotations

from stores.bus.kafka.bus import KafkaBus
from stores.bus.kafka.config import KafkaConfig, KafkaSecurity, KafkaTopics

__all__ = ["KafkaBus", "KafkaConfig", "KafkaSecurity", "KafkaTopics"]
