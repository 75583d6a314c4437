"""A signing key in HashiCorp Vault's (or OpenBao's) Transit engine: type ``ed25519``, not exportable.

The version of the key is fixed at start: a key that Vault rotates meanwhile would be another key, which the ledger
takes up by ``affidavit keys rotate`` and not by surprise.
"""

from __future__ import annotations

import base64
import binascii
import json
from functools import cached_property
from typing import Any

import httpx

from schemas.errors import ConfigurationError, Refused, Unavailable
from signer.anchors.web import call
from signer.custody import checked

MAX_ANSWER_BYTES = 1 << 18


class VaultKey:
    """A :class:`~signer.note.SigningKey` in Vault.

    Args:
        url: of Vault, without a path.
        mount: where the Transit engine is mounted.
        name: of the key; ``version`` which of its versions, the latest at start when left out.
        token: may update ``<mount>/sign/<name>`` and read ``<mount>/keys/<name>``.
        client: as the caller set it up.
        namespace: of Vault Enterprise.
    """

    def __init__(
        self,
        url: str,
        mount: str,
        name: str,
        token: str,
        client: httpx.Client,
        *,
        version: int | None = None,
        namespace: str = "",
    ) -> None:
        self._base = f"{url.rstrip('/')}/v1/{mount.strip('/')}"
        self._name, self._client, self._wanted = name, client, version
        self._headers = {"X-Vault-Token": token, "X-Vault-Request": "true", "Content-Type": "application/json"}
        if namespace:
            self._headers["X-Vault-Namespace"] = namespace

    @property
    def public_key(self) -> bytes:
        """32 raw bytes, asked for once."""
        return self._key[1]

    def sign(self, message: bytes) -> bytes:
        """See :class:`~signer.note.SigningKey`."""
        version, public_key = self._key
        body = {"input": base64.b64encode(message).decode(), "key_version": version}
        answer = self._ask("POST", f"sign/{self._name}", body)
        try:
            prefix, _, encoded = answer["signature"].rpartition(":")
            signature = base64.b64decode(encoded, validate=True)
        except (KeyError, AttributeError, binascii.Error) as error:
            raise Refused(f"Vault key {self._name}: no signature in its answer: {error!r}") from None
        if prefix != f"vault:v{version}":
            raise Refused(f"Vault key {self._name}: signed with {prefix}, expected vault:v{version}")
        return checked(public_key, signature, message, f"Vault key {self._name}")

    @cached_property
    def _key(self) -> tuple[int, bytes]:
        answer = self._ask("GET", f"keys/{self._name}", None)
        if answer.get("type") != "ed25519":
            raise ConfigurationError(f"Vault key {self._name} is of type {answer.get('type')}, expected ed25519")
        version = self._wanted or int(answer.get("latest_version", 1))
        try:
            public_key = base64.b64decode(answer["keys"][str(version)]["public_key"], validate=True)
        except (KeyError, TypeError, binascii.Error) as error:
            raise ConfigurationError(f"Vault key {self._name} has no version {version}: {error!r}") from None
        return version, public_key

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        url = f"{self._base}/{path}"
        data = json.dumps(body).encode() if body is not None else b""
        answer = call(self._client, method, url, data, self._headers, limit=MAX_ANSWER_BYTES)
        if answer.status in (400, 403, 404):
            raise ConfigurationError(f"{url} answered with HTTP status {answer.status}: {answer.words()}")
        if answer.status != httpx.codes.OK:  # 429, 472, 473, 503: standby, sealed, busy
            raise Unavailable(f"{url} answered with HTTP status {answer.status}: {answer.words()}", retry_after=2.0)
        try:
            found = json.loads(answer.body)["data"]
        except (ValueError, KeyError, TypeError):
            raise Refused(f"{url} answered with something else than Vault does") from None
        return found if isinstance(found, dict) else {}
