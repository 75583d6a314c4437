"""The requests that are sent to S3, each one method, and the one place where errors of the SDK are translated.

Keys here are those in the bucket. Every request of a read, a lock or a deletion names a version.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, NamedTuple

import boto3
from botocore import exceptions as sdk
from botocore.config import Config

from schemas.errors import ConfigurationError, Refused, Unavailable
from stores.objects.lock import ObjectLock
from stores.objects.s3_config import S3Config
from stores.objects.s3_errors import ABSENT, DENIED, EXISTS, Answer, classify
from stores.objects.s3_versions import Page, Place, Version, read_page

PIECE_BYTES = 1 << 20
"""Bytes of an object that are read at a time."""

DELETES = 1000
"""Versions in one request of deletion; S3's limit."""


class Head(NamedTuple):
    """A version's size and lock, and the service's time: locks expire by that clock and by no other."""

    size: int
    lock: ObjectLock
    now: datetime


def open_client(config: S3Config) -> Any:
    """A client of the SDK; any number of threads may use it."""
    region = config.region or ("us-east-1" if config.endpoint else None)
    with translated(f"bucket {config.bucket}"):
        session = boto3.session.Session(
            aws_access_key_id=config.access_key,
            aws_secret_access_key=config.secret_key,
            aws_session_token=config.session_token,
            region_name=region,
        )
        return session.client(
            "s3",
            endpoint_url=config.endpoint,
            verify=str(config.ca_file) if config.ca_file else None,
            config=Config(
                connect_timeout=config.connect_seconds,
                read_timeout=config.read_seconds,
                retries={"mode": "standard", "total_max_attempts": config.attempts},
                max_pool_connections=2 * config.parallel,
                tcp_keepalive=True,
                s3={"addressing_style": config.addressing},
                request_checksum_calculation="when_required",  # ours are computed here
                response_checksum_validation="when_supported",
            ),
        )


class S3Requests:
    """One bucket. Methods answer what the caller must decide on, and raise for everything else."""

    def __init__(self, config: S3Config) -> None:
        self._bucket, self._client = config.bucket, open_client(config)

    def create(self, key: str, data: bytes, lock: ObjectLock) -> bool:
        """Write an object where none is, locked from its first moment; false when one is there."""
        locked: dict[str, Any] = {}
        if lock.retain_until is not None:
            locked |= {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": lock.retain_until}
        if lock.hold:
            locked |= {"ObjectLockLegalHoldStatus": "ON"}
        with self._translated(key):
            try:
                self._write(key, data, hashlib.sha256(data).digest(), IfNoneMatch="*", **locked)
            except sdk.ClientError as error:
                if answer(error).code in EXISTS:
                    return False
                raise
        return True

    def create_file(self, key: str, file: BinaryIO) -> bool:
        """Write an object where none is, from a file; false when one is there."""
        digest = _sha256(file)
        with self._translated(key):
            try:
                file.seek(0)
                self._write(key, file, digest, IfNoneMatch="*")
            except sdk.ClientError as error:
                if answer(error).code in EXISTS:
                    return False
                raise
        return True

    def replace(self, key: str, data: bytes) -> None:
        """Write an object, whatever is there; an older version stays below it."""
        with self._translated(key):
            self._write(key, data, hashlib.sha256(data).digest())

    def _write(self, key: str, body: bytes | BinaryIO, sha256: bytes, **more: Any) -> None:
        self._client.put_object(
            Bucket=self._bucket,
            Key=key,
            Body=body,
            ChecksumSHA256=b64encode(sha256).decode(),
            ContentType="application/octet-stream",
            **more,
        )

    def read(self, key: str, version: str | None = None) -> bytes | None:
        """The bytes of a version, compared with the checksum that was stored with them; the newest without a version.
        ``None`` when there is none, or a delete marker."""
        with self._translated(key):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=key, **_version(version))
            except sdk.ClientError as error:
                if _is_absent(error):
                    return None
                raise
            body = found["Body"]  # not in a `with`: what that gives reads past the checksum
            try:
                data: bytes = body.read()
            finally:
                body.close()
        return data

    def stream(self, key: str, version: str) -> Iterator[bytes]:
        """:meth:`read`, in pieces; the checksum is compared when all of them were read.

        Raises:
            KeyError: there is no such version.
        """
        with self._translated(key):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=key, VersionId=version)
            except sdk.ClientError as error:
                if _is_absent(error):
                    raise KeyError(key) from None
                raise
            body = found["Body"]
            try:
                while piece := body.read(PIECE_BYTES):
                    yield piece
            finally:
                body.close()

    def head(self, key: str, version: str | None = None) -> Head | None:
        """Size and lock of a version, as :meth:`read`."""
        with self._translated(key):
            try:
                found = self._client.head_object(Bucket=self._bucket, Key=key, **_version(version))
            except sdk.ClientError as error:
                if _is_absent(error):
                    return None
                raise
        until = found.get("ObjectLockRetainUntilDate")
        lock = ObjectLock(until and until.astimezone(UTC), found.get("ObjectLockLegalHoldStatus") == "ON")
        return Head(int(found["ContentLength"]), lock, _served_at(found))

    def versions(self, prefix: str, behind: Place | None, limit: int) -> Page:
        """Versions and delete markers of the keys that begin with ``prefix``."""
        place: dict[str, str] = {}
        if behind is not None:
            place["KeyMarker"] = behind.key
            if behind.version is not None:
                place["VersionIdMarker"] = behind.version
        with self._translated(f"{prefix}*"):
            return read_page(
                self._client.list_object_versions(Bucket=self._bucket, Prefix=prefix, MaxKeys=limit, **place)
            )

    def retain(self, version: Version, until: datetime) -> None:
        """Lock a version until a date."""
        retention = {"Mode": "COMPLIANCE", "RetainUntilDate": until}
        with self._translated(version.key):
            self._client.put_object_retention(
                Bucket=self._bucket, Key=version.key, VersionId=version.version, Retention=retention
            )

    def hold(self, version: Version, hold: bool) -> None:
        """Set or clear a version's legal hold."""
        status = {"Status": "ON" if hold else "OFF"}
        with self._translated(version.key):
            self._client.put_object_legal_hold(
                Bucket=self._bucket, Key=version.key, VersionId=version.version, LegalHold=status
            )

    def delete(self, doomed: Sequence[Version]) -> list[Version]:
        """Delete versions and delete markers. Returns those that the service denied to delete: locked, or no
        permission."""
        denied: list[Version] = []
        for at in range(0, len(doomed), DELETES):
            some = doomed[at : at + DELETES]
            names = [{"Key": item.key, "VersionId": item.version} for item in some]
            with self._translated(some[0].key):
                answered = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": names, "Quiet": True})
            for error in answered.get("Errors", ()):
                reply = Answer(error.get("Code", ""), 200, error.get("Message", ""))
                if reply.code in DENIED:
                    denied += [item for item in some if (item.key, item.version) == (error["Key"], error["VersionId"])]
                elif reply.code not in ABSENT:
                    raise classify(reply, f"object {error['Key']}")
        return denied

    def state(self, request: str) -> Mapping[str, Any]:
        """The answer to one of the requests that take a bucket alone, for :mod:`stores.objects.s3_bucket`.

        Raises:
            ClientError: as the SDK raises it; connections and credentials are translated.
        """
        with translated(f"bucket {self._bucket}", answers=False):
            found: Mapping[str, Any] = getattr(self._client, request)(Bucket=self._bucket)
        return found

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        with translated(f"s3://{self._bucket}/{key}"):
            yield


def answer(error: sdk.ClientError) -> Answer:
    """What the service said."""
    said, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    after = meta.get("HTTPHeaders", {}).get("retry-after", "")
    return Answer(
        str(said.get("Code", "")),
        int(meta.get("HTTPStatusCode", 0)),
        str(said.get("Message", "")),
        float(after) if after.isdecimal() else None,
    )


@contextmanager
def translated(what: str, *, answers: bool = True) -> Iterator[None]:
    """Errors of the SDK become ours. Order matters: the SDK's classes overlap."""
    try:
        yield
    except sdk.ClientError as error:
        if not answers:
            raise
        raise classify(answer(error), what) from error
    except sdk.SSLError as error:
        raise ConfigurationError(f"{what}: {error}; check objects.ca_file and objects.endpoint") from error
    except (sdk.NoCredentialsError, sdk.PartialCredentialsError, sdk.ProfileNotFound) as error:
        raise ConfigurationError(
            f"{what}: {error}; set objects.access_key and objects.secret_key, or give the process a role"
        ) from error
    except (sdk.NoRegionError, sdk.InvalidRegionError) as error:
        raise ConfigurationError(f"{what}: {error}; set objects.region") from error
    except (sdk.ConnectionError, sdk.HTTPClientError, sdk.IncompleteReadError, sdk.FlexibleChecksumError) as error:
        raise Unavailable(f"{what}: {error}") from error
    except (sdk.CredentialRetrievalError, sdk.TokenRetrievalError, sdk.MetadataRetrievalError) as error:
        raise Unavailable(f"{what}: {error}") from error
    except sdk.BotoCoreError as error:
        raise Refused(f"{what}: {error}") from error
    except ValueError as error:  # the SDK says so of an endpoint that is no URL
        raise ConfigurationError(f"{what}: {error}; check objects.endpoint") from error


def _sha256(file: BinaryIO) -> bytes:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
    return digest.digest()


def _version(version: str | None) -> dict[str, str]:
    return {} if version is None else {"VersionId": version}


def _is_absent(error: sdk.ClientError) -> bool:
    reply = answer(error)
    return reply.code in ABSENT or reply.status == 405  # the version is a delete marker


def _served_at(found: Mapping[str, Any]) -> datetime:
    date = found["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(date).astimezone(UTC) if date else datetime.now(UTC)
