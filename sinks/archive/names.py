"""Where things lie in the archive: which records share an object, and the keys of objects and plans. Pure.

::

    segments/<tenant>/<retention class>/<day>/<topic>-<partition>/<first>-<end>.avro
    segments/_plans/<topic>-<partition>/<first // 10⁶>/<first>.json

All records of an object share tenant, retention class and day, so they share one expiry. ``<first>`` and ``<end>`` are
those of the flush that wrote the object (``end`` exclusive), which makes the plan's key a function of the object's. The
first plan of a shard alone lies at the key of offset 0, wherever the shard begins. Offsets have 20 digits, so that keys
sort as numbers do.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from schemas.avro_binary import read_varint
from schemas.errors import MalformedInput
from schemas.ids import Offset, Shard, parse_shard

ROOT = "segments/"
PLANS = "segments/_plans/"

STRAY = "_stray"
"""Tenant and retention class of what is no record of ours. No encoded name begins with an underscore."""

MAX_NAME_BYTES = 200
"""Longest encoded tenant or class: file systems allow 255 bytes in a name. A record with a longer one is a stray."""

PLANS_PER_FOLDER = 1_000_000
"""Offsets whose plans share a folder, so that no folder of a local store grows for ever."""

DAY_MS = 86_400_000

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-@+_")
_EPOCH = date(1970, 1, 1)
_SEGMENT_KEY = re.compile(
    r"segments/([^/]+)/([^/]+)/(\d{4}-\d\d-\d\d)/([a-z]+)-(\d+)/(\d{20})-(\d{20})\.avro", re.ASCII
)
_PLAN_KEY = re.compile(r"segments/_plans/([a-z]+)-(\d+)/(\d{14})/(\d{20})\.json", re.ASCII)


class Scope(NamedTuple):
    """What all records of one object have in common. ``day`` is of the bus's clock, UTC. ``stray`` records have neither
    tenant nor class; both are then :data:`STRAY`."""

    tenant: str
    retention_class: str
    day: date
    stray: bool = False


class SegmentKey(NamedTuple):
    """What the key of a segment says. ``first`` and ``end`` are those of its flush."""

    scope: Scope
    shard: Shard
    first: Offset
    end: Offset


def scope_prefix(value: bytes) -> bytes:
    """Tenant and retention class of a record, still as Avro wrote them, from the first bytes of its value: enough to
    tell records apart without decoding them. ``b""`` where there is no such thing."""
    try:
        middle = 17 + (value[16] >> 1)
        end = middle + 1 + (value[middle] >> 1)
    except IndexError:
        return b""
    if value[16] & 1 or value[middle] & 1 or (value[16] | value[middle]) & 0x80 or end > len(value):
        return _long_prefix(value)
    return value[16:end]


def read_scope(prefix: bytes, day_number: int) -> Scope:
    """The scope behind what :func:`scope_prefix` returned, on the ``day_number``-th day since 1970."""
    day = _EPOCH + timedelta(days=day_number)
    try:
        tenant, at = _text(prefix, 0)
        retention_class, _ = _text(prefix, at)
    except (MalformedInput, IndexError, UnicodeDecodeError):
        return Scope(STRAY, STRAY, day, stray=True)
    if max(len(encode_name(tenant)), len(encode_name(retention_class))) > MAX_NAME_BYTES:
        return Scope(STRAY, STRAY, day, stray=True)
    return Scope(tenant, retention_class, day)


def encode_name(name: str) -> str:
    """A tenant or class as one path segment, reversibly: other bytes than ``a-z 0-9 . - @ + _`` become ``=xx`` of their
    UTF-8, and so do a first ``.`` and ``_``; the empty name is ``=``. Capitals are escaped, because some file
    systems hold ``Acme`` and ``acme`` for one name."""
    if not name:
        return "="
    plain = "".join(char if char in _PLAIN else "".join(f"={byte:02x}" for byte in char.encode()) for char in name)
    return f"={ord(plain[0]):02x}{plain[1:]}" if plain[0] in "._" else plain


def decode_name(text: str) -> str:
    """Read what :func:`encode_name` wrote.

    Raises:
        MalformedInput: it would have been written otherwise.
    """
    if text == "=":
        return ""
    try:
        head, *escaped = text.split("=")
        name = b"".join([head.encode(), *(bytes.fromhex(item[:2]) + item[2:].encode() for item in escaped)]).decode()
    except ValueError:
        raise MalformedInput(f"got {text!r}, expected a name with other bytes written as =xx") from None
    if encode_name(name) != text:
        raise MalformedInput(f"got {text!r}, expected {encode_name(name)!r}")
    return name


def segment_key(scope: Scope, shard: Shard, first: Offset, end: Offset) -> str:
    """The key of the object that holds the records of ``scope`` from one flush."""
    tenant = STRAY if scope.stray else encode_name(scope.tenant)
    retention_class = STRAY if scope.stray else encode_name(scope.retention_class)
    return f"{ROOT}{tenant}/{retention_class}/{scope.day}/{_folder(shard)}/{first:020d}-{end:020d}.avro"


def parse_segment_key(key: str) -> SegmentKey:
    """Read what :func:`segment_key` wrote.

    Raises:
        MalformedInput: it is no key of a segment.
    """
    if (match := _SEGMENT_KEY.fullmatch(key)) is None:
        raise MalformedInput(f"got {key!r}, expected the key of a segment")
    tenant, retention_class, day, topic, partition, first, end = match.groups()
    try:
        when = date.fromisoformat(day)
    except ValueError:
        raise MalformedInput(f"got day {day}, expected a date, in {key!r}") from None
    if tenant == retention_class == STRAY:
        scope = Scope(STRAY, STRAY, when, stray=True)
    else:
        scope = Scope(decode_name(tenant), decode_name(retention_class), when)
    return SegmentKey(scope, parse_shard(f"{topic}/{partition}"), Offset(int(first)), Offset(int(end)))


def plan_key(shard: Shard, first: Offset) -> str:
    """The key of the plan of the flush that begins at ``first``. Two writers that plan from the same offset meet here,
    and the store lets one of them through."""
    return f"{plan_prefix(shard)}{first // PLANS_PER_FOLDER:014d}/{first:020d}.json"


def plan_prefix(shard: Shard) -> str:
    """What the keys of a shard's plans begin with."""
    return f"{PLANS}{_folder(shard)}/"


def parse_plan_key(key: str) -> tuple[Shard, Offset]:
    """Read what :func:`plan_key` wrote.

    Raises:
        MalformedInput: it is no key of a plan.
    """
    if (match := _PLAN_KEY.fullmatch(key)) is None:
        raise MalformedInput(f"got {key!r}, expected the key of a plan")
    shard, first = parse_shard(f"{match[1]}/{match[2]}"), Offset(int(match[4]))
    if plan_key(shard, first) != key:
        raise MalformedInput(f"got {key!r}, expected {plan_key(shard, first)!r}")
    return shard, first


def retention_date(day: date, floor_days: int) -> datetime | None:
    """Midnight UTC ``floor_days`` after the end of ``day``; ``None`` when the floor is 0."""
    if floor_days == 0:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=floor_days + 1)


def _folder(shard: Shard) -> str:
    return f"{shard.topic}-{shard.partition}"


def _long_prefix(value: bytes) -> bytes:
    try:
        _, middle = _text(value, 16)
        _, end = _text(value, middle)
    except (MalformedInput, IndexError, UnicodeDecodeError):
        return b""
    return value[16:end]


def _text(data: bytes, at: int) -> tuple[str, int]:
    size, at = read_varint(data, at)
    end = at + size
    if not 0 <= size <= MAX_NAME_BYTES or end > len(data):
        raise MalformedInput(f"got a name of {size} bytes, expected at most {MAX_NAME_BYTES}")
    return data[at:end].decode(), end
