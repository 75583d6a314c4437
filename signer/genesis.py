"""The genesis document: what a log says of itself before its first event. Leaf 0 commits to it. Pure.

It is JSON so that people read it, and its exact bytes are what counts: they are stored once and never written again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from schemas.entry import GENESIS, NO_OFFSET, ZERO, pack_commitments, pack_entry
from schemas.errors import MalformedInput
from schemas.parts import commit
from signer.note import parse_vkey
from signer.origin import parse_origin

VERSION = 1
GENESIS_PART = 0x10
"""Part type under which leaf 0 commits to the document. Salt: 32 zero bytes, for a public document needs no secret."""


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The last checkpoint of the log that this one follows; ``root`` and ``chain`` are 32 bytes."""

    origin: str
    size: int
    root: bytes
    chain: bytes


@dataclass(frozen=True, slots=True)
class Genesis:
    """What is fixed for the life of a log.

    Attributes:
        origin: its name.
        vkey: the only key that signs its checkpoints; the key's name is the origin.
        opened_ms: milliseconds since 1970 UTC; the time of leaf 0.
        topic_id: identity of the topic on the bus, another one after the topic was created again; ``""`` without bus.
        start_offset: bus offset of leaf 1; for an anchor log the sequence number of its first set.
        schemas: name and SHA-256 (hex) of every Avro schema file in force, sorted by name.
        previous: the log before this one, or ``None``.
        reason: why it was opened, in words.
    """

    origin: str
    vkey: str
    opened_ms: int
    topic_id: str
    start_offset: int
    schemas: tuple[tuple[str, str], ...]
    previous: Predecessor | None
    reason: str


def format_genesis(genesis: Genesis) -> bytes:
    """The document: JSON, one field a line, ASCII, a line break at the end."""
    origin = parse_origin(genesis.origin)
    previous = genesis.previous
    document = {
        "version": VERSION,
        "origin": genesis.origin,
        "topic": origin.shard.topic,
        "partition": origin.shard.partition,
        "term": origin.term,
        "topic_id": genesis.topic_id,
        "start_offset": genesis.start_offset,
        "vkey": genesis.vkey,
        "opened_ms": genesis.opened_ms,
        "schemas": dict(genesis.schemas),
        "previous": None
        if previous is None
        else {
            "origin": previous.origin,
            "size": previous.size,
            "root": previous.root.hex(),
            "chain": previous.chain.hex(),
        },
        "reason": genesis.reason,
    }
    return (json.dumps(document, indent=2) + "\n").encode("ascii")


def parse_genesis(data: bytes) -> Genesis:
    """Read a document.

    Raises:
        MalformedInput: not exactly what :func:`format_genesis` writes, or its key bears another name than its origin.
    """
    try:
        document: Any = json.loads(data)
        previous: Any = document["previous"]
        genesis = Genesis(
            origin=document["origin"],
            vkey=document["vkey"],
            opened_ms=document["opened_ms"],
            topic_id=document["topic_id"],
            start_offset=document["start_offset"],
            schemas=tuple(sorted(document["schemas"].items())),
            previous=None
            if previous is None
            else Predecessor(
                previous["origin"],
                previous["size"],
                bytes.fromhex(previous["root"]),
                bytes.fromhex(previous["chain"]),
            ),
            reason=document["reason"],
        )
        numbers = (genesis.opened_ms, genesis.start_offset, previous["size"] if previous else 0)
        exact = format_genesis(genesis) == data and all(type(number) is int and number >= 0 for number in numbers)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedInput(f"got a genesis document that does not parse: {type(error).__name__}: {error}") from None
    if not exact:
        raise MalformedInput("got a genesis document that is not spelt as we spell it")
    if parse_vkey(genesis.vkey).name != genesis.origin:
        raise MalformedInput(f"got genesis key {genesis.vkey!r}, expected one named {genesis.origin!r}")
    return genesis


def genesis_entry(document: bytes, opened_ms: int) -> bytes:
    """Leaf 0: the entry that commits to the bytes of the document."""
    commitments = pack_commitments([(GENESIS_PART, commit(ZERO, GENESIS_PART, document))])
    return pack_entry(GENESIS, NO_OFFSET, opened_ms, commitments)
