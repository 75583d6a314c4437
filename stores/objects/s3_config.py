"""Which bucket, where, and how: everything that :class:`stores.objects.s3.S3Objects` must be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from schemas.errors import ConfigurationError, MalformedInput
from stores.objects.keys import check_key

CHECKPOINT = "checkpoint"
"""The last segment of the only keys whose objects are replaced (``docs/log-format.md``)."""


@dataclass(frozen=True, slots=True)
class S3Config:
    """An S3 bucket with Object Lock, and how to reach it.

    Attributes:
        bucket: its name.
        prefix: in front of all keys, without a slash at its ends; a bucket may hold several stores.
        endpoint: URL of a service that is not AWS.
        region: region of the bucket; the SDK's usual chain when left out, ``us-east-1`` with an endpoint.
        access_key, secret_key, session_token: credentials; the SDK's usual chain when left out.
        addressing: ``path`` puts the bucket into the path, ``virtual`` into the host name; ``auto`` takes ``virtual``
            with AWS and ``path`` with an endpoint.
        ca_file: authorities that may have signed the service's certificate, PEM.
        connect_seconds, read_seconds: how long to wait for a connection, and for each piece of an answer.
        attempts: how often the SDK sends a request in all. 2, so that a connection which the service closed while it
            was idle costs no error; anything longer is the caller's to decide.
        parallel: how many requests of one call are in flight at once, over all threads of the process.
        replaceable: last segments of the keys that ``put`` may write; reads of them take the newest version, and reads
            of all others the first.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    addressing: Literal["auto", "path", "virtual"] = "auto"
    ca_file: Path | None = None
    connect_seconds: float = 5.0
    read_seconds: float = 30.0
    attempts: int = 2
    parallel: int = 16
    replaceable: frozenset[str] = frozenset({CHECKPOINT})

    def __post_init__(self) -> None:
        if not self.bucket:
            raise ConfigurationError("got no bucket name, expected that of a bucket with Object Lock")
        if (self.access_key is None) != (self.secret_key is None):
            raise ConfigurationError(
                "got one of access key and secret key, expected both, or neither to use the AWS SDK's usual chain"
            )
        if self.attempts < 1 or self.parallel < 1:
            raise ConfigurationError(
                f"got {self.attempts} attempts and {self.parallel} parallel requests, expected at least 1 of each"
            )
        try:
            if self.prefix:
                check_key(self.prefix)
        except MalformedInput as error:
            raise ConfigurationError(f"prefix in bucket {self.bucket}: {error}") from error

    def full_key(self, key: str) -> str:
        """The key in the bucket of the object that we call ``key``."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def own_key(self, full_key: str) -> str:
        """What we call the object that has ``full_key`` in the bucket."""
        return full_key.removeprefix(f"{self.prefix}/") if self.prefix else full_key

    def is_replaceable(self, key: str) -> bool:
        """Whether ``put`` may write ``key``."""
        return key.rsplit("/", 1)[-1] in self.replaceable
