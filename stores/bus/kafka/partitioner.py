"""Which shard a key belongs to: Kafka's default, so that other producers agree (pure)."""

from __future__ import annotations

import struct

SEED = 0x9747B28C
MULTIPLIER = 0x5BD1E995
MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """MurmurHash2, 32 bits, as ``org.apache.kafka.common.utils.Utils.murmur2`` computes it (there: signed)."""
    size = len(data)
    whole = size & ~3
    state = SEED ^ size
    for word in struct.unpack(f"<{whole >> 2}I", data[:whole]):
        word = (word * MULTIPLIER) & MASK
        state = ((state * MULTIPLIER) & MASK) ^ (((word ^ (word >> 24)) * MULTIPLIER) & MASK)
    if whole != size:
        state = ((state ^ int.from_bytes(data[whole:], "little")) * MULTIPLIER) & MASK
    state = ((state ^ (state >> 13)) * MULTIPLIER) & MASK
    return state ^ (state >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key among so many."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
