"""Sources put together from the rows that hold their bytes, for the verifier and for whoever shows a prompt whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.chunks import Manifest, Piece, Place, assemble
from schemas.earlier import SHORTEST, Recent
from schemas.errors import EvidenceIncomplete, Unavailable
from schemas.ids import Shard
from sinks.clickhouse.quoting import quote

MEMORY = 64 << 20
"""Bytes of earlier rows that are kept for those that follow."""


class Sources:
    """Puts sources together. From one thread.

    Args:
        client: with the tables' database as its own, and the right to read content.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._recent: dict[str, Recent] = {}

    def whole(self, shard: Shard, offset: int, source: bytes, pieces: bytes) -> bytes:
        """The source of a row.

        Args:
            shard, offset: of the row.
            source: its column ``source``: all of it, or the own bytes.
            pieces: its column ``source_pieces`` as one JSON list of numbers, four for each piece; empty: all of it.

        Raises:
            EvidenceIncomplete: a row that it repeats is gone.
            Unavailable: ClickHouse does not answer.
        """
        recent = self._recent.setdefault(shard.topic, Recent(MEMORY))
        own = Place(shard.partition, offset)
        if pieces or len(source) >= SHORTEST:
            recent.keep(own, source)
        if not pieces:
            return source
        numbers = iter(json.loads(pieces))
        named = [
            (Place(partition, at), start, length) for partition, at, start, length in zip(*[numbers] * 4, strict=True)
        ]
        records = tuple(sorted({place for place, _, _ in named}))
        manifest = Manifest(
            records, tuple(Piece(records.index(place), start, length) for place, start, length in named), b""
        )
        held = {**recent.held(records), own: source}
        if missing := [place for place in records if place not in held]:
            held |= self._read(shard.topic, missing)
            for place in missing:
                if place in held:
                    recent.keep(place, held[place])
        try:
            return assemble(manifest, held)
        except EvidenceIncomplete as error:
            raise EvidenceIncomplete(f"{shard} offset {offset}: {error}") from None

    def _read(self, topic: str, places: Sequence[Place]) -> Mapping[Place, bytes]:
        found: dict[Place, bytes] = {}
        for partition in sorted({place.partition for place in places}):
            offsets = ", ".join(str(place.offset) for place in places if place.partition == partition)
            # As hexadecimal: text that is not UTF-8 does not come back as bytes.
            sql = (
                f"SELECT offset, hex(source) FROM contents WHERE topic = {quote(topic)} AND partition = {partition} "
                f"AND offset IN ({offsets})"
            )
            try:
                rows = self._client.query(sql).result_rows
            except ClickHouseError as error:
                raise Unavailable(f"{Shard(topic, partition)}: {str(error)[:300]}") from None
            found |= {Place(partition, int(offset)): bytes.fromhex(source) for offset, source in rows}
        return found
