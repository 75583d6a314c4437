"""A signing key in AWS KMS: key spec ``ECC_NIST_EDWARDS25519``, signing algorithm ``ED25519_SHA_512`` over the raw
message, which is pure Ed25519 (RFC 8032). The signer's role needs ``kms:Sign`` and ``kms:GetPublicKey``, no more."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from schemas.errors import ConfigurationError, Refused, Unavailable
from signer.custody import checked, raw_public_key

MAX_MESSAGE_BYTES = 4096
"""KMS signs no longer message raw; a checkpoint has a tenth of that."""

_PASSING = {"ThrottlingException", "KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException"}


class KmsKey:
    """A :class:`~signer.note.SigningKey` in AWS KMS.

    Args:
        key_id: id, ARN or alias (``alias/…``) of the key.
        region, endpoint, access_key, secret_key: as the AWS SDK takes them; its usual chain where left out.
    """

    def __init__(
        self,
        key_id: str,
        *,
        region: str | None = None,
        endpoint: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
    ) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            raise ConfigurationError(
                f"custody is aws-kms, and {error.name} is missing: install affidavit[s3]"
            ) from None
        self._key_id = key_id
        limits = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"})
        try:
            self._client: Any = boto3.client(
                "kms",
                region_name=region,
                endpoint_url=endpoint,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
                config=limits,
            )
        except (BotoCoreError, ValueError) as error:
            raise ConfigurationError(f"AWS KMS key {key_id}: {error}") from None

    @cached_property
    def public_key(self) -> bytes:
        """32 raw bytes, asked for once."""
        answer = self._ask("get_public_key", KeyId=self._key_id)
        return raw_public_key(answer["PublicKey"], f"AWS KMS key {self._key_id}")

    def sign(self, message: bytes) -> bytes:
        """See :class:`~signer.note.SigningKey`."""
        if len(message) > MAX_MESSAGE_BYTES:
            raise Refused(f"got a message of {len(message)} bytes, AWS KMS signs up to {MAX_MESSAGE_BYTES}")
        answer = self._ask(
            "sign", KeyId=self._key_id, Message=message, MessageType="RAW", SigningAlgorithm="ED25519_SHA_512"
        )
        return checked(self.public_key, answer["Signature"], message, f"AWS KMS key {self._key_id}")

    def _ask(self, operation: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client, operation)(**arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            words = f"AWS KMS key {self._key_id}: {operation} gave {code}: {error}"
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if code in _PASSING or status >= 500:
                raise Unavailable(words, retry_after=2.0) from None
            raise ConfigurationError(words) from None
        except BotoCoreError as error:
            raise Unavailable(f"AWS KMS: {error}", retry_after=2.0) from None
