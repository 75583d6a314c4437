"""Requests of Kafka's protocol that aiokafka does not have: topics by id (KIP-516), in metadata and in fetches.

Field for field as in ``MetadataRequest.json``, ``FetchRequest.json`` and their responses in Apache Kafka's
``clients/src/main/resources/common/message``. Every version here has "flexible" encoding: compact strings and arrays,
tagged fields at the end of each structure. Also the two structures that members of a consumer group exchange.
"""

# mypy: allow-subclassing-any
from __future__ import annotations

import uuid
from io import BytesIO
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.struct import Struct
from aiokafka.protocol.types import (
    AbstractType,
    Array,
    Boolean,
    Bytes,
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

NO_TAGS: dict[int, bytes] = {}
NO_UUID = uuid.UUID(int=0)


class Uuid(AbstractType[uuid.UUID]):
    """16 bytes."""

    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))


class MetadataResponse12(Response):
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )
    brokers: list[tuple[int, str, int, str | None, Any]]
    controller_id: int
    topics: list[tuple[int, str, uuid.UUID, bool, list[tuple[Any, ...]], int, Any]]


class MetadataRequest12(RequestStruct):
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = MetadataResponse12
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicsById(Request[MetadataRequest12]):
    """Brokers, and of the named topics id, partitions and leaders (KIP-516; Kafka 3.1 and later)."""

    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[MetadataRequest12]) -> MetadataRequest12:
        topics = [(NO_UUID, name, NO_TAGS) for name in self._names]
        return request_struct_class(topics, False, False, NO_TAGS)


class FetchResponse13(Response):
    API_KEY = 1
    API_VERSION = 13
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("session_id", Int32),
        (
            "topics",
            CompactArray(
                ("topic_id", Uuid),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("high_watermark", Int64),
                        ("last_stable_offset", Int64),
                        ("log_start", Int64),
                        (
                            "aborted",
                            CompactArray(("producer_id", Int64), ("first_offset", Int64), ("tags", TaggedFields)),
                        ),
                        ("preferred_replica", Int32),
                        ("records", CompactBytes),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )
    error_code: int
    topics: list[tuple[uuid.UUID, list[tuple[Any, ...]], Any]]


class FetchRequest13(RequestStruct):
    API_KEY = 1
    API_VERSION = 13
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = FetchResponse13
    SCHEMA = Schema(
        ("replica_id", Int32),
        ("max_wait_ms", Int32),
        ("min_bytes", Int32),
        ("max_bytes", Int32),
        ("isolation_level", Int8),
        ("session_id", Int32),
        ("session_epoch", Int32),
        (
            "topics",
            CompactArray(
                ("topic_id", Uuid),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("current_leader_epoch", Int32),
                        ("fetch_offset", Int64),
                        ("last_fetched_epoch", Int32),
                        ("log_start_offset", Int64),
                        ("partition_max_bytes", Int32),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("forgotten", CompactArray(("topic_id", Uuid), ("partitions", CompactArray(Int32)), ("tags", TaggedFields))),
        ("rack_id", CompactString("utf-8")),
        ("tags", TaggedFields),
    )


class FetchById(Request[FetchRequest13]):
    """Record batches of one partition from ``offset`` on; the broker waits ``wait_ms`` for the first.

    By topic *id*, so that a topic that was deleted and created again cannot pass for the old one. Isolation is
    "read uncommitted": our producers use no transactions, and a message of somebody else's transaction has its
    offset, and so its leaf, whether or not that transaction is aborted later.
    """

    API_KEY = 1

    def __init__(self, topic_id: uuid.UUID, partition: int, offset: int, *, max_bytes: int, wait_ms: int) -> None:
        self._topic_id, self._partition, self._offset = topic_id, partition, offset
        self._max_bytes, self._wait_ms = max_bytes, wait_ms

    def build(self, request_struct_class: type[FetchRequest13]) -> FetchRequest13:
        partition = (self._partition, -1, self._offset, -1, -1, self._max_bytes, NO_TAGS)
        return request_struct_class(
            -1,  # a consumer
            self._wait_ms,
            1,
            self._max_bytes,
            0,  # read uncommitted
            0,
            -1,  # without a fetch session
            [(self._topic_id, [partition], NO_TAGS)],
            [],
            "",
            NO_TAGS,
        )


class Subscription(Struct):
    """What a member tells the group when it joins (``ConsumerProtocolSubscription.json``, version 1)."""

    SCHEMA = Schema(
        ("version", Int16),
        ("topics", Array(String("utf-8"))),
        ("user_data", Bytes),
        ("owned", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
    )
    topics: list[str]
    user_data: bytes | None
    owned: list[tuple[str, list[int]]]


class Assignment(Struct):
    """What the group tells a member (``ConsumerProtocolAssignment.json``, version 0)."""

    SCHEMA = Schema(
        ("version", Int16),
        ("assigned", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
        ("user_data", Bytes),
    )
    assigned: list[tuple[str, list[int]]]
