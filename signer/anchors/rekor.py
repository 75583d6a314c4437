"""Rekor v2 over HTTP: publishes the digest of a head in a public log. Opt-in; nothing but the digest leaves."""

from __future__ import annotations

import time

import httpx
from cryptography.hazmat.primitives.asymmetric import ec

from schemas.errors import Refused, Unavailable, VerificationError
from signer.anchors import AnchoredHead, AnchorKind, Attestation, ConsistencyProof
from signer.anchors.web import call
from signer.policy import RekorLog
from signer.rekor import format_request, verify_entry

INTERVAL_SECONDS = 3600.0
"""A public log is shared: once an hour is fair use."""

TIMEOUT_SECONDS = 30.0
"""The answer comes once a checkpoint includes the entry, which takes 2 to 10 s."""

MAX_ANSWER_BYTES = 1 << 18


class RekorAnchor:
    """A Rekor v2 log. An :class:`~signer.anchors.Anchor`.

    Args:
        log: its name and pinned key.
        url: of the service, without the path.
        key: ECDSA P-256; not the ledger's.
        client: as the caller set it up.
        interval_seconds: how often it is asked.
    """

    kind: AnchorKind = "rekor"

    def __init__(
        self,
        log: RekorLog,
        url: str,
        key: ec.EllipticCurvePrivateKey,
        client: httpx.Client,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._log, self._key, self._client = log, key, client
        self._url = f"{url.rstrip('/')}/api/v2/log/entries"
        self.name, self.interval_seconds = log.name, interval_seconds

    def attest(self, head: AnchoredHead, proof: ConsistencyProof) -> Attestation:
        """See :class:`~signer.anchors.Anchor`."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        body = format_request(head.note, self._key)
        answer = call(self._client, "POST", self._url, body, headers, limit=MAX_ANSWER_BYTES)
        if answer.status not in (httpx.codes.OK, httpx.codes.CREATED):
            kind = Unavailable if answer.is_passing else Refused
            raise kind(f"{self._url} answered with HTTP status {answer.status}: {answer.words()}")
        try:
            verify_entry(answer.body, head.note, self._log)
        except VerificationError as error:
            raise Refused(str(error)) from None
        return Attestation(answer.body, (), time.time_ns() // 1_000_000)

    def close(self) -> None:
        self._client.close()
