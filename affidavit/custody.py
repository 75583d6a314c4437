"""From settings to the signing key, wherever it lives. Secrets leave their wrapping here."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx

from affidavit.layout import Layout
from affidavit.settings import Settings
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from signer.note import SigningKey

TIMEOUT_SECONDS = 10.0


def signing_key(layout: Layout, settings: Settings) -> SigningKey:
    """The key of the ledger.

    Raises:
        ConfigurationError: it is not there, or may not be used.
        Unavailable: whoever keeps it cannot be reached.
    """
    own = settings.custody
    match own.kind:
        case "file":
            from signer.keyfile import load_key

            passphrase = _plain(settings.signer.passphrase)
            return load_key(settings.signer.key or layout.signing_key, passphrase.encode() if passphrase else None)
        case "aws-kms":
            from signer.custody.aws_kms import KmsKey

            return KmsKey(
                own.key_id,
                region=own.region or None,
                endpoint=own.endpoint or None,
                access_key=own.access_key or None,
                secret_key=_plain(own.secret_key) or None,
            )
        case "vault":
            from signer.custody.vault import VaultKey

            try:
                context = ssl.create_default_context(cafile=str(own.ca_file) if own.ca_file else None)
            except OSError as error:
                raise ConfigurationError(f"cannot read {own.ca_file}: {error.strerror or error}") from None
            client = httpx.Client(timeout=TIMEOUT_SECONDS, verify=context, trust_env=False)
            return VaultKey(
                own.url,
                own.mount,
                own.key_id,
                _plain(own.token),
                client,
                version=own.version,
                namespace=own.namespace,
            )
        case "pkcs11":
            from signer.custody.pkcs11 import Pkcs11Key

            assert own.module is not None
            return Pkcs11Key(own.module, own.token_label, own.key_id, _plain(own.pin))


def _plain(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""
