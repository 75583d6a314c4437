"""``python -m bench.metadata_dictionary FILE``: make a dictionary for the compression of metadata parts.

From traffic of our own making, that of the demonstration and of the benchmarks of ingest. So was
``schemas/avro/metadata.v1.dict`` made; it is released and never changes: run this for the next version of the metadata.
"""

from __future__ import annotations

import gzip
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import zstandard

from affidavit.demo import litellm, native, otlp
from bench.ingest import litellm_body, native_body
from collector.assemble import Stamp, assemble
from collector.gateways import Format, Received
from collector.gateways.litellm import LiteLLMFormat
from collector.gateways.native import NativeFormat
from collector.gateways.otlp import OtlpFormat
from schemas.metadata_binary import encode_metadata

SIZE = 8192
RUNS = 60
START = 1_787_305_200


def samples() -> Iterator[bytes]:
    """Metadata parts of several gateways, no two alike."""
    chance = random.Random(1)
    for number, (body, source, gateway, receiver, media_type) in enumerate(_bodies(chance)):
        stamp = Stamp(f"collector-{number % 5}-{chance.randbytes(4).hex()}", chance.randrange(100_000))
        received = Received(
            f"tenant-{number % 3}",
            gateway,
            f"t-{chance.randbytes(4).hex()}",
            receiver,
            f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}",
            media_type,
            "",
            (START + number) * 1_000_000 + chance.randrange(1_000_000),
            source.name,
            chance.randbytes(32).hex(),
        )
        for events in assemble(source.read(body, received), received, stamp):
            yield from (encode_metadata(event.metadata) for event in events)


def _bodies(chance: random.Random) -> Iterator[tuple[bytes, Format, str, str, str]]:
    logs, traces = OtlpFormat("logs"), OtlpFormat("traces")
    for run in range(RUNS):
        now = START + 977.25 * run
        for parcel in native.parcels(now):
            yield parcel.body, NativeFormat(), "native", "http", parcel.media_type
        for parcel in litellm.parcels(now):
            yield parcel.body, LiteLLMFormat(), "litellm", "http", parcel.media_type
        for parcel in otlp.parcels(now):
            body = gzip.decompress(parcel.body) if parcel.gzip else parcel.body
            yield body, logs if parcel.path.endswith("logs") else traces, parcel.gateway, "otlp-http", parcel.media_type
        yield native_body(chance.randrange(10_000), 4), NativeFormat(), "native", "http", "application/x-ndjson"
        yield litellm_body(chance.randrange(10_000), 4), LiteLLMFormat(), "litellm", "http", "application/json"


if __name__ == "__main__":
    found: list[bytes | bytearray | memoryview[int]] = list(samples())
    Path(sys.argv[1]).write_bytes(zstandard.train_dictionary(SIZE, found, level=3).as_bytes())
    print(f"{len(found)} parts of {sum(map(len, found)) // len(found)} bytes on average", file=sys.stderr)
