"""Cloudflare: AI Gateway's Logpush lines and REST logs, and the log of MCP server portals.

Lines carry no id, so the hash of a line stands in. Bodies and metadata of AI Gateway come encrypted when the gateway
has a public key; the unit's source is the line as received, whoever can open it.
"""

from __future__ import annotations

from typing import Any

from collector.gateways import Draft, Reading, Received, Unit
from collector.gateways.cloudflare_fields import Decrypt
from collector.gateways.cloudflare_logs import read_line, read_log
from collector.gateways.cloudflare_portal import read_portal
from collector.gateways.source_ids import joined_id
from collector.inflate import inflate
from collector.json_units import split_json
from schemas.errors import AffidavitError

_GZIP = b"\x1f\x8b"
MAX_INFLATED = 64 * 1024 * 1024
"""Bytes that a gzipped body without a Content-Encoding may inflate to."""

_VALIDATION = {"content": "tests"}
"""What Logpush uploads to a destination before it makes a job, as ``test.txt.gz``."""

_LINE_FIELDS = ("RequestBody", "ResponseBody", "Gateway", "Provider", "Model", "Endpoint")
_LOG_FIELDS = ("created_at", "provider", "model", "tokens_in", "status_code", "request_head")


class CloudflareFormat:
    """See the module. ``POST`` or ``PUT /v1/cloudflare``. ``decrypt`` opens encrypted fields, if there is a key."""

    name = "cloudflare"

    def __init__(self, decrypt: Decrypt | None = None) -> None:
        self._decrypt = decrypt

    def read(self, body: bytes, received: Received) -> Reading:
        """One unit per line. Objects from a bucket are gzip without saying so."""
        if body.startswith(_GZIP):
            try:
                body = inflate(body, ["gzip"], MAX_INFLATED)
            except AffidavitError as error:
                return Reading([Unit(body, error=str(error))], error=str(error))
        return Reading([self._unit(unit.source, unit.value, unit.error) for unit in split_json(body)])

    def _unit(self, source: bytes, record: Any, error: str) -> Unit:
        if error:
            return Unit(source, error=error)
        if not isinstance(record, dict):
            return Unit(source, error=f"got {type(record).__name__}, expected an object: a line of Logpush or a log")
        if record == _VALIDATION:
            return Unit(source, drafts=[Draft("session", {"operation": "logpush_validation"})])
        if "PortalID" in record or "ToolCallName" in record:
            return Unit(source, drafts=read_portal(record))
        if sum(name in record for name in _LINE_FIELDS) > 1:
            return Unit(source, drafts=read_line(record, self._decrypt))
        if "id" in record and any(name in record for name in _LOG_FIELDS):
            return Unit(source, joined_id(record.get("id")), read_log(record))
        return Unit(source, error=_unknown(record))


def _unknown(record: dict[str, Any]) -> str:
    if isinstance(record.get("result"), list):
        return "got a page of the logs API, expected its logs: send each element of result by itself"
    names = ", ".join(sorted(str(name)[:32] for name in record)[:8])
    return f"got an object with {names or 'no fields'}, expected a line of AI Gateway or of an MCP portal, or a log"
