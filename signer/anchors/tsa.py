"""Time-stamping authorities over HTTP (RFC 3161 §3.4)."""

from __future__ import annotations

import httpx

from schemas.errors import Refused, Unavailable
from signer.anchors import AnchoredHead, AnchorKind, Attestation, ConsistencyProof
from signer.anchors.web import call
from signer.policy import Authority
from signer.tokens import make_request, read_answer

INTERVAL_SECONDS = 60.0
MAX_ANSWER_BYTES = 1 << 18


class TimeStampAnchor:
    """An authority that stamps the anchored bytes. An :class:`~signer.anchors.Anchor`.

    Args:
        authority: its name and pinned certificates.
        url: where it takes requests.
        client: its settings are the caller's: proxies, certificates, user and password, time limit.
        interval_seconds: how often it is asked.
    """

    kind: AnchorKind = "tsa"

    def __init__(
        self, authority: Authority, url: str, client: httpx.Client, interval_seconds: float = INTERVAL_SECONDS
    ) -> None:
        self._authority, self._url, self._client = authority, url, client
        self.name, self.interval_seconds = authority.name, interval_seconds

    def attest(self, head: AnchoredHead, proof: ConsistencyProof) -> Attestation:
        """See :class:`~signer.anchors.Anchor`."""
        request = make_request(head.note)
        query = request.as_bytes()
        headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
        answer = call(self._client, "POST", self._url, query, headers, limit=MAX_ANSWER_BYTES)
        if answer.status != httpx.codes.OK:
            kind = Unavailable if answer.is_passing else Refused
            raise kind(f"{self._url} answered with HTTP status {answer.status}")
        time_ms = read_answer(request, answer.body, head.note, self._authority)
        return Attestation(answer.body, ((".tsq", query),), time_ms)

    def close(self) -> None:
        self._client.close()
