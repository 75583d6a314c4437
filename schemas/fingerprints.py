"""CRC-64-AVRO fingerprints of our schemas (Avro 1.12 §Schema Fingerprints), little-endian: bus header ``s``.

Constants, because a schema file is never edited and computing one imports an Avro library; a test compares them.
"""

from __future__ import annotations

RECORD_V1 = bytes.fromhex("1dafcbab68659e9d")
METADATA_V1 = bytes.fromhex("7169792fddcf5bd4")
SEGMENT_V1 = bytes.fromhex("25827d39ac74c7e9")
DEADLETTER_V1 = bytes.fromhex("82c9349752f26dbf")
CHUNKS_V1 = bytes.fromhex("a91c7ec3062d3f9a")
SHARED_V1 = bytes.fromhex("ef7148efccf08a9e")

FINGERPRINTS = {
    "record.v1": RECORD_V1,
    "metadata.v1": METADATA_V1,
    "segment.v1": SEGMENT_V1,
    "deadletter.v1": DEADLETTER_V1,
    "chunks.v1": CHUNKS_V1,
    "shared.v1": SHARED_V1,
}
"""By the name of the file in ``schemas/avro``."""
