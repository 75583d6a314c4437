"""What Splunk's index holds of a ledger, asked by search over the indexed fields (``tstats``).

HEC cannot be read, so this goes to the management port, with a token of its own. Only equal values are compared in a
search (shard, block): whether a number in an indexed field compares as a number is a matter of versions.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import httpx
import orjson

from schemas.errors import ConfigurationError, Refused, Unavailable
from schemas.ids import Shard
from sinks.splunk.envelope import BLOCK, INDEXED
from sinks.tls import Secret, Tls

EXPORT_PATH = "/services/search/v2/jobs/export"
BLOCKS_AT_A_TIME = 20
"""Blocks in one search by offset: 20,000 rows at most."""


class BlockCount(NamedTuple):
    """One block of one shard in the index: its number, events, distinct offsets among them."""

    block: int
    events: int
    records: int


class SplunkSearch:
    """Asks one Splunk. From any thread.

    Args:
        url: of the management port, such as ``https://splunk.example.com:8089``.
        token: a Splunk authentication token that may search the indexes.
        deployment: name of the deployment.
        indexes: that its events are in; ``""`` among them: the user's default ones.
        client: of httpx; made when left out.
    """

    def __init__(
        self,
        url: str,
        token: Secret,
        deployment: str,
        indexes: Collection[str],
        tls: Tls | None = None,
        client: httpx.Client | None = None,
    ) -> None:
        self._url = url
        self._token = token
        self._where = f"{_indexes(indexes)}{INDEXED}deployment={quoted(deployment)}"
        self._client = client or httpx.Client(verify=(tls or Tls()).context(), timeout=120.0, trust_env=False)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def blocks(self, shard: Shard) -> list[BlockCount]:
        """The blocks of a shard that the index has something of, in order.

        Raises:
            Unavailable: Splunk does not answer, or not as it should.
            ConfigurationError: it refuses the token.
        """
        rows = self._search(
            f"| tstats count dc({INDEXED}offset) as records where {self._where} {_of(shard)} by {INDEXED}block"
        )
        return sorted(
            BlockCount(_number(row, INDEXED + "block"), _number(row, "count"), _number(row, "records")) for row in rows
        )

    def offsets(self, shard: Shard, blocks: Iterable[int]) -> dict[int, int]:
        """How often each offset of these blocks is in the index; those that are not are left out. Raises like
        :meth:`blocks`."""
        found: dict[int, int] = {}
        wanted = sorted(set(blocks))
        for at in range(0, len(wanted), BLOCKS_AT_A_TIME):
            some = " OR ".join(f"{INDEXED}block={number}" for number in wanted[at : at + BLOCKS_AT_A_TIME])
            rows = self._search(f"| tstats count where {self._where} {_of(shard)} ({some}) by {INDEXED}offset")
            found |= {_number(row, INDEXED + "offset"): _number(row, "count") for row in rows}
        return found

    def _search(self, query: str) -> list[Mapping[str, Any]]:
        """Rows of a search over all time; previews are left out."""
        try:
            answer = self._client.post(
                self._url + EXPORT_PATH,
                data={"search": query, "output_mode": "json", "earliest_time": "0", "latest_time": ""},
                headers={"Authorization": f"Bearer {self._token.get()}"},
            )
        except httpx.HTTPError as error:
            raise Unavailable(f"Splunk's search at {self._url}: {type(error).__name__}: {error}") from None
        if answer.status_code in (401, 403):
            raise ConfigurationError(
                f"Splunk's search at {self._url} answers {answer.status_code}: check splunk.search_token, and that its "
                "user may search the indexes"
            )
        if answer.status_code >= 300:
            raise Unavailable(f"Splunk's search at {self._url} answers {answer.status_code}: {answer.text[:300]}")
        return read_export(answer.content)


def read_export(body: bytes) -> list[Mapping[str, Any]]:
    """The rows of an export: one JSON object a line.

    Raises:
        Unavailable: a line that is none, or a message of Splunk that the search failed or was cut short.
    """
    rows: list[Mapping[str, Any]] = []
    for line in body.splitlines():
        if not line.strip():
            continue
        try:
            item = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise Unavailable(f"Splunk's search gave a line that is no JSON, of {len(line)} bytes") from None
        for message in item.get("messages", ()):
            if message.get("type") in ("FATAL", "ERROR", "WARN"):
                raise Unavailable(f"Splunk's search says: {str(message.get('text'))[:300]}")
        if not item.get("preview") and isinstance(item.get("result"), dict):
            rows.append(item["result"])
    return rows


def quoted(text: str) -> str:
    """A value in a search.

    Raises:
        Refused: one that no search could hold.
    """
    if re.search(r'["\\\x00-\x1f*]', text):
        raise Refused(f"got {text!r} for a value in a search, expected no quote, backslash, star or control character")
    return f'"{text}"'


def blocks_of(offsets: Iterable[int]) -> Sequence[int]:
    """The blocks that offsets are in, in order."""
    return sorted({offset // BLOCK for offset in offsets})


def _of(shard: Shard) -> str:
    return f"{INDEXED}shard={quoted(str(shard))}"


def _indexes(names: Collection[str]) -> str:
    if "" in names:
        return ""
    return f"({' OR '.join(f'index={quoted(name)}' for name in sorted(names))}) "


def _number(row: Mapping[str, Any], name: str) -> int:
    try:
        return int(row[name])
    except (KeyError, ValueError, TypeError):
        raise Unavailable(f"Splunk's search gave a row without a number in {name}") from None
