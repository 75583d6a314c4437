"""One HTTP exchange with an anchor: bounded in time and size, its failures in our words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from schemas.errors import Refused, Unavailable

RETRY_AFTER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read to its end. ``type`` is its media type in lower case, without parameters."""

    status: int
    type: str
    body: bytes

    @property
    def is_passing(self) -> bool:
        """Whether it is the kind of no that passes: overload, and trouble of the server's own."""
        return self.status == httpx.codes.TOO_MANY_REQUESTS or self.status >= httpx.codes.INTERNAL_SERVER_ERROR

    def words(self) -> str:
        """What it says, as far as it fits a log line."""
        return " ".join(self.body[:200].decode("utf-8", "replace").split())


def call(client: httpx.Client, method: str, url: str, body: bytes, headers: Mapping[str, str], *, limit: int) -> Answer:
    """Send one request; read at most ``limit`` bytes of the answer.

    Raises:
        Unavailable: no answer.
        Refused: an answer that is larger.
    """
    try:
        with client.stream(method, url, content=body, headers=dict(headers)) as response:
            pieces, size = list[bytes](), 0
            for piece in response.iter_bytes():
                size += len(piece)
                if size > limit:
                    raise Refused(f"{url} answered with more than {limit} bytes")
                pieces.append(piece)
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            return Answer(response.status_code, kind, b"".join(pieces))
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(f"{url}: {reason}", retry_after=RETRY_AFTER_SECONDS) from None
