"""A bucket on S3, read with boto3. Needs no more than ``s3:ListBucket`` and ``s3:GetObject``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import boto3
import botocore.session
from botocore import credentials
from botocore import exceptions as sdk
from botocore.config import Config

from collector.poll.object_cursor import Listed
from collector.poll.object_sweep import Folders, Listing
from schemas.errors import AccessDenied, AffidavitError, ConfigurationError, LimitExceeded, Unavailable
from stores.objects.s3_errors import ABSENT, BUSY, DENIED, EXISTS, EXPIRED, Answer
from stores.objects.s3_requests import answer, translated

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BucketConfig:
    """Which bucket, and how to reach it.

    Attributes:
        bucket: its name.
        region: of the bucket; the SDK's usual chain when left out, ``us-east-1`` with an endpoint.
        endpoint: URL of a service that is not AWS.
        role_arn, external_id: a role to take on with the credentials of the SDK's usual chain, and what its policy asks
            for; the chain's own credentials when left out.
        connect_seconds, read_seconds: how long to wait for a connection, and for each piece of an answer.
    """

    bucket: str
    region: str | None = None
    endpoint: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    connect_seconds: float = 5.0
    read_seconds: float = 30.0


class S3Bucket:
    """A :class:`collector.poll.object_sweep.Bucket`."""

    def __init__(self, config: BucketConfig) -> None:
        self.name = config.bucket
        self._client = _open_client(config)

    def list(self, prefix: str, behind: str) -> Listing:
        """See :meth:`collector.poll.object_sweep.Bucket.list`."""
        place = {"StartAfter": behind} if behind else {}
        with self._errors(f"{prefix}*", "s3:ListBucket"):
            found = self._client.list_objects_v2(Bucket=self.name, Prefix=prefix, **place)
        objects = [
            Listed(int(item["LastModified"].timestamp()), item["Key"], item["ETag"].strip('"'), item["Size"])
            for item in found.get("Contents", ())
        ]
        return Listing(objects, _served_at(found), found.get("IsTruncated", False))

    def folders(self, prefix: str) -> Folders:
        """See :meth:`collector.poll.object_sweep.Bucket.folders`."""
        names: list[str] = []
        place: dict[str, str] = {}
        with self._errors(f"{prefix}*", "s3:ListBucket"):
            while True:
                found = self._client.list_objects_v2(Bucket=self.name, Prefix=prefix, Delimiter="/", **place)
                names += [item["Prefix"] for item in found.get("CommonPrefixes", ())]
                if not found.get("IsTruncated"):
                    return Folders(names, _served_at(found))
                place = {"ContinuationToken": found["NextContinuationToken"]}

    def open(self, key: str, etag: str) -> Iterator[bytes]:
        """See :meth:`collector.poll.object_sweep.Bucket.open`. The request is sent at once, not at the first piece."""
        with self._errors(key, "s3:GetObject"):
            body = self._get(self.name, key, IfMatch=f'"{etag}"')["Body"]
        return self._chunks(key, body)

    def fetch(self, bucket: str, key: str, limit: int) -> bytes:
        """See :meth:`collector.poll.object_sweep.Bucket.fetch`."""
        with self._errors(key, "s3:GetObject", bucket):
            found = self._get(bucket, key)
            try:
                if found["ContentLength"] > limit:
                    raise LimitExceeded(f"got an object of {found['ContentLength']} bytes, expected at most {limit}")
                data: bytes = found["Body"].read()
            finally:
                found["Body"].close()
            return data

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _get(self, bucket: str, key: str, **more: str) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self._client.get_object(Bucket=bucket, Key=key, **more)
        except sdk.ClientError as error:
            said = answer(error)
            if said.code in ABSENT or said.code in EXISTS:
                raise KeyError(key) from None
            raise
        return found

    def _chunks(self, key: str, body: Any) -> Iterator[bytes]:
        try:
            while True:
                with self._errors(key, "s3:GetObject"):
                    chunk = body.read(CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk
        finally:
            body.close()

    @contextmanager
    def _errors(self, key: str, permission: str, bucket: str = "") -> Iterator[None]:
        what = f"s3://{bucket or self.name}/{key}"
        try:
            with translated(what, answers=False):
                yield
        except sdk.ClientError as error:
            raise classify(answer(error), what, permission) from error
        except ConfigurationError as error:  # worded for the store of segments
            raise ConfigurationError(str(error).replace("objects.", "the feed's ")) from error


def classify(said: Answer, what: str, permission: str) -> AffidavitError:
    """The error to raise for an answer; ``permission`` is what the request needs."""
    text = f"{what}: S3 answered {said.status} {said.code}: {said.message}"
    if said.code in DENIED:
        also = " and kms:Decrypt on the bucket's key" if "kms" in said.message.lower() else ""
        where = "the bucket" if permission == "s3:ListBucket" else "its objects"
        return AccessDenied(f"{text}; allow {permission} on {where}{also} for the feed's role or credentials")
    if said.code in BUSY or said.code in EXPIRED or said.status >= 500 or said.status in (408, 409, 429):
        return Unavailable(text, retry_after=1.0 if said.retry_after is None else said.retry_after)
    return ConfigurationError(f"{text}; check the feed's bucket, region, endpoint and credentials")


def _open_client(config: BucketConfig) -> Any:
    region = config.region or ("us-east-1" if config.endpoint else None)
    with translated(f"bucket {config.bucket}"):
        session = boto3.session.Session(region_name=region)
        if config.role_arn:
            session = boto3.session.Session(botocore_session=_in_role(config, region), region_name=region)
        return session.client(
            "s3",
            endpoint_url=config.endpoint,
            config=Config(
                connect_timeout=config.connect_seconds,
                read_timeout=config.read_seconds,
                retries={"mode": "standard", "total_max_attempts": 2},
                tcp_keepalive=True,
                s3={"addressing_style": "path" if config.endpoint else "auto"},
            ),
        )


def _in_role(config: BucketConfig, region: str | None) -> Any:
    """A session in the role, whose credentials are fetched when they are needed and renewed before they end."""
    outer = botocore.session.Session()
    more = {"ExternalId": config.external_id} if config.external_id else {}
    fetcher = credentials.AssumeRoleCredentialFetcher(
        client_creator=lambda service, **options: outer.create_client(
            service, endpoint_url=config.endpoint, **{"region_name": region, **options}
        ),
        source_credentials=outer.get_credentials(),
        role_arn=config.role_arn,
        extra_args={"RoleSessionName": "affidavit-feed", **more},
    )
    inner = botocore.session.Session()
    inner._credentials = credentials.DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    return inner


def _served_at(found: Mapping[str, Any]) -> int:
    date = found["ResponseMetadata"]["HTTPHeaders"].get("date")
    return int(parsedate_to_datetime(date).timestamp()) if date else int(time.time())
