"""What a connection needs to prove who both sides are, made from the configuration."""

# mypy: allow-subclassing-any
from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from aiokafka.abc import AbstractTokenProvider

from schemas.errors import ConfigurationError
from stores.bus.kafka.config import KafkaSecurity


class TokenProvider(AbstractTokenProvider):
    """Asks the hook for a token, off the loop: it may do I/O."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    async def token(self) -> str:
        return await asyncio.to_thread(self._token)


def connection_options(security: KafkaSecurity) -> dict[str, Any]:
    """Keyword arguments of ``aiokafka.conn.create_conn``.

    Raises:
        ConfigurationError: a file that is absent, unreadable or no certificate.
    """
    options: dict[str, Any] = {"security_protocol": security.protocol}
    if security.protocol.endswith("SSL"):
        options["ssl_context"] = tls_context(security)
    if security.mechanism is not None:
        options["sasl_mechanism"] = security.mechanism
    if security.mechanism == "OAUTHBEARER":
        assert security.token is not None
        options["sasl_oauth_token_provider"] = TokenProvider(security.token)
    elif security.mechanism is not None:
        options["sasl_plain_username"] = security.username
        options["sasl_plain_password"] = security.password
    return options


def tls_context(security: KafkaSecurity) -> ssl.SSLContext:
    """Host names are checked; TLS 1.2 or later."""
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"got CA file {security.ca_file}: {error}; expected a readable file of PEM certificates"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if security.certificate_file is not None:
        try:
            # A password of its own, always: without one OpenSSL asks on the terminal.
            context.load_cert_chain(security.certificate_file, security.key_file, lambda: security.key_password or "")
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"got client certificate {security.certificate_file} with key {security.key_file}: {error}; "
                "expected PEM files that belong together, and the key's password if it has one"
            ) from error
    return context


def msk_iam_token(region: str) -> Callable[[], str]:
    """A token hook for AWS MSK with IAM, from the usual AWS credentials.

    Raises:
        ConfigurationError: the signer's library is not installed.
    """
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ConfigurationError(
            "AWS MSK with IAM needs the package aws-msk-iam-sasl-signer-python; "
            "run pip install aws-msk-iam-sasl-signer-python, or use SASL mechanism SCRAM-SHA-512"
        ) from error

    def token() -> str:
        text, _ = MSKAuthTokenProvider.generate_auth_token(region)
        return str(text)

    return token
