"""What went wrong, said in the words of the one tree of errors (pure).

Brokers answer with numbers (``org.apache.kafka.common.protocol.Errors``), connections fail with exceptions of aiokafka,
of the socket and of TLS. Both are classified here and nowhere else.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import NamedTuple

from aiokafka import errors as kafka

from schemas.errors import AffidavitError, ConfigurationError, LimitExceeded, Unavailable


class Means(Enum):
    """What an answer means for whoever asked."""

    MOVED = "ask again, perhaps elsewhere: a leader, a coordinator or a replica is not there yet"
    ABSENT = "a topic or partition is not there; while metadata spreads, this passes"
    RECREATED = "the topic has another id than the one we asked for"
    OUT_OF_RANGE = "no such offset, before the start or behind the end"
    SEQUENCE = "the broker does not know this producer's sequence: begin a new one"
    TOO_LARGE = "more bytes than the topic accepts"
    REJOIN = "the group is being rearranged"
    EXPELLED = "the group does not know this member any more"
    MEMBER_ID = "join again under the id that came with the answer"
    FORBIDDEN = "an ACL is missing"
    CREDENTIALS = "not who we claim to be"
    SETUP = "this cannot work until somebody changes something"
    ODD = "nothing that we expect"


class Known(NamedTuple):
    name: str
    means: Means


CODES: Mapping[int, Known] = {
    1: Known("OFFSET_OUT_OF_RANGE", Means.OUT_OF_RANGE),
    2: Known("CORRUPT_MESSAGE", Means.MOVED),
    3: Known("UNKNOWN_TOPIC_OR_PARTITION", Means.ABSENT),
    5: Known("LEADER_NOT_AVAILABLE", Means.MOVED),
    6: Known("NOT_LEADER_OR_FOLLOWER", Means.MOVED),
    7: Known("REQUEST_TIMED_OUT", Means.MOVED),
    8: Known("BROKER_NOT_AVAILABLE", Means.MOVED),
    9: Known("REPLICA_NOT_AVAILABLE", Means.MOVED),
    10: Known("MESSAGE_TOO_LARGE", Means.TOO_LARGE),
    13: Known("NETWORK_EXCEPTION", Means.MOVED),
    14: Known("COORDINATOR_LOAD_IN_PROGRESS", Means.MOVED),
    15: Known("COORDINATOR_NOT_AVAILABLE", Means.MOVED),
    16: Known("NOT_COORDINATOR", Means.MOVED),
    17: Known("INVALID_TOPIC_EXCEPTION", Means.SETUP),
    18: Known("RECORD_LIST_TOO_LARGE", Means.TOO_LARGE),
    19: Known("NOT_ENOUGH_REPLICAS", Means.MOVED),
    20: Known("NOT_ENOUGH_REPLICAS_AFTER_APPEND", Means.MOVED),
    22: Known("ILLEGAL_GENERATION", Means.EXPELLED),
    23: Known("INCONSISTENT_GROUP_PROTOCOL", Means.SETUP),
    24: Known("INVALID_GROUP_ID", Means.SETUP),
    25: Known("UNKNOWN_MEMBER_ID", Means.EXPELLED),
    26: Known("INVALID_SESSION_TIMEOUT", Means.SETUP),
    27: Known("REBALANCE_IN_PROGRESS", Means.REJOIN),
    29: Known("TOPIC_AUTHORIZATION_FAILED", Means.FORBIDDEN),
    30: Known("GROUP_AUTHORIZATION_FAILED", Means.FORBIDDEN),
    31: Known("CLUSTER_AUTHORIZATION_FAILED", Means.FORBIDDEN),
    33: Known("UNSUPPORTED_SASL_MECHANISM", Means.CREDENTIALS),
    34: Known("ILLEGAL_SASL_STATE", Means.CREDENTIALS),
    35: Known("UNSUPPORTED_VERSION", Means.SETUP),
    36: Known("TOPIC_ALREADY_EXISTS", Means.SETUP),
    37: Known("INVALID_PARTITIONS", Means.SETUP),
    38: Known("INVALID_REPLICATION_FACTOR", Means.SETUP),
    40: Known("INVALID_CONFIG", Means.SETUP),
    41: Known("NOT_CONTROLLER", Means.MOVED),
    44: Known("POLICY_VIOLATION", Means.SETUP),
    45: Known("OUT_OF_ORDER_SEQUENCE_NUMBER", Means.SEQUENCE),
    46: Known("DUPLICATE_SEQUENCE_NUMBER", Means.SEQUENCE),
    47: Known("INVALID_PRODUCER_EPOCH", Means.SEQUENCE),
    49: Known("INVALID_PRODUCER_ID_MAPPING", Means.SEQUENCE),
    56: Known("KAFKA_STORAGE_ERROR", Means.MOVED),
    58: Known("SASL_AUTHENTICATION_FAILED", Means.CREDENTIALS),
    59: Known("UNKNOWN_PRODUCER_ID", Means.SEQUENCE),
    72: Known("LISTENER_NOT_FOUND", Means.MOVED),
    74: Known("FENCED_LEADER_EPOCH", Means.MOVED),
    75: Known("UNKNOWN_LEADER_EPOCH", Means.MOVED),
    76: Known("UNSUPPORTED_COMPRESSION_TYPE", Means.SETUP),
    78: Known("OFFSET_NOT_AVAILABLE", Means.MOVED),
    79: Known("MEMBER_ID_REQUIRED", Means.MEMBER_ID),
    81: Known("GROUP_MAX_SIZE_REACHED", Means.SETUP),
    87: Known("INVALID_RECORD", Means.SETUP),
    88: Known("UNSTABLE_OFFSET_COMMIT", Means.MOVED),
    89: Known("THROTTLING_QUOTA_EXCEEDED", Means.MOVED),
    100: Known("UNKNOWN_TOPIC_ID", Means.RECREATED),
    103: Known("INCONSISTENT_TOPIC_ID", Means.RECREATED),
}


class Answered(Exception):
    """A broker answered with an error. Never leaves this package."""

    def __init__(self, code: int, detail: str | None = None) -> None:
        self.code = code
        self.name, self.means = CODES.get(code, Known(f"error {code}", Means.ODD))
        super().__init__(f"{self.name}: {detail}" if detail else self.name)


class Unreached(Exception):
    """No answer: the connection could not be made, or broke, or the time ran out. A request that had been sent may
    or may not have been carried out. Never leaves this package."""


def check(code: int, detail: str | None = None) -> None:
    """Raise :class:`Answered` unless the code says that all is well."""
    if code:
        raise Answered(code, detail)


def connection_error(error: BaseException, address: str) -> Unreached | ConfigurationError:
    """What a failed connection means: a wrong password will not get better, a broker that is away will."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigurationError(
            f"the certificate of the Kafka broker {address} does not verify: {error}; "
            "set the CA file that signed it, and bootstrap servers by a name that it carries"
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ConfigurationError(
            f"no TLS with the Kafka broker {address}: {error}; "
            "check that the security protocol is that of the listener, and that it accepts our certificate"
        )
    if isinstance(error, kafka.UnsupportedSaslMechanismError | kafka.IllegalSaslStateError):
        return ConfigurationError(
            f"the Kafka broker {address} refused our SASL mechanism: {error}; "
            "set one of the mechanisms and the security protocol that the listener has"
        )
    if isinstance(error, kafka.SaslAuthenticationFailed | kafka.AuthenticationFailedError):
        return ConfigurationError(
            f"the Kafka broker {address} refused our credentials: {error}; check user name and password, or the token"
        )
    if isinstance(error, ValueError) and "wrong signature" in str(error):
        return ConfigurationError(f"the Kafka broker {address} does not know our password either; is it the right one?")
    if isinstance(error, kafka.IncompatibleBrokerVersion | NotImplementedError):
        return ConfigurationError(
            f"the Kafka broker {address} does not speak our version of the protocol: {error}; "
            "use Apache Kafka 3.1 or later"
        )
    if isinstance(error, TimeoutError):
        return Unreached(f"{address} did not answer in time")
    return Unreached(f"{address}: {error or type(error).__name__}")


def translate(error: Answered | Unreached, doing: str) -> AffidavitError:
    """The error for our caller, who asked for ``doing``."""
    if isinstance(error, Unreached):
        return Unavailable(f"Kafka is unavailable while {doing}: {error}")
    match error.means:
        case Means.FORBIDDEN:
            return ConfigurationError(f"Kafka refused {doing}: {error}; allow it with kafka-acls.sh")
        case Means.SETUP | Means.CREDENTIALS:
            return ConfigurationError(f"Kafka refused {doing}: {error}")
        case Means.ABSENT:
            return ConfigurationError(
                f"Kafka refused {doing}: {error}; run affidavit init, or create the topic with kafka-topics.sh"
            )
        case Means.TOO_LARGE:
            return LimitExceeded(f"Kafka refused {doing}: {error}; raise max.message.bytes with kafka-configs.sh")
        case _:
            return Unavailable(f"Kafka is unavailable while {doing}: {error}{_hint(error)}")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """:func:`translate` whatever the body raises."""
    try:
        yield
    except (Answered, Unreached) as error:
        raise translate(error, doing) from error


def _hint(error: Answered) -> str:
    if error.code in (19, 20):
        return "; fewer replicas are in sync than min.insync.replicas demands"
    return ""
