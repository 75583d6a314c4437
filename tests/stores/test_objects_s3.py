"""The S3 store beyond the contract of objects: versions, locks, attacks, failures, and what it asks for."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from botocore.exceptions import ClientError
from s3_proxy import Damaged, Dropped, Reply, S3Proxy, always, nth, once
from s3_server import BUCKET, S3Server

from schemas.errors import (
    ConfigurationError,
    InvariantError,
    LedgerContradiction,
    LimitExceeded,
    Refused,
    RetentionLocked,
    Unavailable,
)
from stores.objects import NewObject
from stores.objects import s3 as s3_module
from stores.objects.s3 import S3Objects
from stores.objects.s3_config import S3Config
from stores.objects.s3_versions import Shadowed

pytestmark = pytest.mark.slow
"""They need a server, which takes some seconds to start."""


class Store:
    """A store through a proxy, and a client for what the store never does."""

    def __init__(self, server: S3Server, proxy: S3Proxy, config: S3Config) -> None:
        self.server, self.proxy, self.config = server, proxy, config
        self.client = server.client()
        self.objects = S3Objects(config)
        self._more: list[S3Objects] = []

    def open(self, **changes: Any) -> S3Objects:
        """Another store over the same keys."""
        self._more.append(S3Objects(replace(self.config, **changes)))
        return self._more[-1]

    def versions(self, key: str) -> tuple[list[Any], list[Any]]:
        """Versions and delete markers as the service lists them."""
        full = self.config.full_key(key)
        found = self.client.list_object_versions(Bucket=BUCKET, Prefix=full)
        kinds = (found.get(name, []) for name in ("Versions", "DeleteMarkers"))
        versions, markers = ([item for item in kind if item["Key"] == full] for kind in kinds)
        return versions, markers

    def overwrite(self, key: str, data: bytes) -> None:
        """A newer version, by somebody with a key to the bucket."""
        self.client.put_object(Bucket=BUCKET, Key=self.config.full_key(key), Body=data)

    def bury(self, key: str) -> None:
        """A delete marker."""
        self.client.delete_object(Bucket=BUCKET, Key=self.config.full_key(key))

    def close(self) -> None:
        self.client.close()
        for objects in (self.objects, *self._more):
            objects.close()


@pytest.fixture
def store(s3_server: S3Server) -> Iterator[Store]:
    with S3Proxy(s3_server.endpoint) as proxy:
        store = Store(s3_server, proxy, s3_server.config(endpoint=proxy.endpoint, attempts=1))
        try:
            yield store
        finally:
            store.close()


def in_days(days: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


def keys(objects: S3Objects, prefix: str = "", start_after: str = "") -> list[str]:
    return [info.key for info in objects.list(prefix, start_after=start_after)]


# Locks


def test_an_object_is_locked_from_its_first_moment(store: Store) -> None:
    until = datetime.now(UTC).replace(microsecond=1) + timedelta(days=2)
    store.objects.create([NewObject("a", b"one", until, hold=True)])
    assert store.proxy.counts == {"PUT object": 1}
    found = store.client.head_object(Bucket=BUCKET, Key=store.config.full_key("a"), ChecksumMode="ENABLED")
    assert found["ObjectLockMode"] == "COMPLIANCE"
    assert found["ObjectLockRetainUntilDate"] == until.replace(microsecond=0) + timedelta(seconds=1)
    assert found["ObjectLockLegalHoldStatus"] == "ON"
    assert found["ChecksumSHA256"] == "dpLDrTVAu4A8Ags67mbNiIcSMjTqDG5xQ8Ct1z/0Me0="


def test_nobody_undoes_a_lock(store: Store) -> None:
    """Not this code: the service. It is here so that a service which does not is found out."""
    store.objects.create([NewObject("a", b"one", in_days(2))])
    (version,), _ = store.versions("a")
    named = {"Bucket": BUCKET, "Key": version["Key"], "VersionId": version["VersionId"]}
    shorter = {"Mode": "COMPLIANCE", "RetainUntilDate": in_days(1)}
    weaker = {"Mode": "GOVERNANCE", "RetainUntilDate": in_days(3)}
    for attempt in (
        lambda: store.client.delete_object(**named, BypassGovernanceRetention=True),
        lambda: store.client.put_object_retention(**named, Retention=shorter, BypassGovernanceRetention=True),
        lambda: store.client.put_object_retention(**named, Retention=weaker, BypassGovernanceRetention=True),
        lambda: store.client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"}),
    ):
        with pytest.raises(ClientError, match=r"AccessDenied|InvalidBucketState"):
            attempt()
    with pytest.raises(RetentionLocked, match="object a: is locked until"):
        store.objects.delete(["a"])
    assert store.objects.get("a") == b"one"


def test_creating_again_locks_as_much_as_asked(store: Store) -> None:
    store.objects.create([NewObject("a", b"one")])
    store.objects.create([NewObject("a", b"one", in_days(1))])
    store.objects.create([NewObject("a", b"one", in_days(3), hold=True)])
    store.objects.create([NewObject("a", b"one", in_days(2))])
    info = store.objects.head("a")
    assert info is not None
    assert info.retain_until is not None
    assert abs(info.retain_until - in_days(3)) < timedelta(minutes=1)
    assert info.hold
    assert len(store.versions("a")[0]) == 1


def test_a_date_that_has_passed_is_refused(store: Store) -> None:
    with pytest.raises(Refused, match=r"S3 answered 400 Invalid"):
        store.objects.create([NewObject("a", b"one", in_days(-1))])
    store.objects.create([NewObject("a", b"one")])
    with pytest.raises(Refused, match=r"S3 answered 400 Invalid|S3 answered 400 Malformed"):
        store.objects.extend_retention("a", in_days(-1))


# Attacks by somebody who may write to the bucket


@pytest.mark.parametrize("until", [None, in_days(2)])
def test_what_was_written_once_stays_what_it_was(store: Store, until: datetime | None) -> None:
    store.objects.create([NewObject("a", b"one", until), NewObject("b", b"two", until), NewObject("c", b"3", until)])
    store.overwrite("a", b"forged")
    store.bury("b")
    store.overwrite("c", b"forged")
    store.bury("c")
    store.overwrite("c", b"forged again")
    assert [store.objects.get(key) for key in "abc"] == [b"one", b"two", b"3"]
    infos = list(store.objects.list(""))
    assert [(info.key, info.size) for info in infos] == [("a", 3), ("b", 3), ("c", 1)]
    assert [info.retain_until for info in infos] == [until] * 3
    assert [store.objects.head(key) for key in "abc"] == infos
    assert list(store.objects.shadowed()) == [Shadowed("a", 2, 0), Shadowed("b", 1, 1), Shadowed("c", 3, 1)]


def test_creating_again_compares_with_the_first(store: Store) -> None:
    store.objects.create([NewObject("a", b"one"), NewObject("b", b"two")])
    store.overwrite("a", b"forged")
    store.objects.create([NewObject("a", b"one")])
    with pytest.raises(LedgerContradiction, match="object a: exists with other bytes"):
        store.objects.create([NewObject("a", b"forged")])
    assert store.objects.get("a") == b"one"


def test_a_marker_lets_a_second_version_in_that_nobody_reads(store: Store) -> None:
    store.objects.create([NewObject("a", b"one")])
    store.bury("a")
    store.objects.create([NewObject("a", b"two")])
    assert store.objects.get("a") == b"one"
    assert list(store.objects.shadowed()) == [Shadowed("a", 2, 1)]


def test_holds_and_dates_are_those_of_the_first_version(store: Store) -> None:
    store.objects.create([NewObject("a", b"one")])
    store.overwrite("a", b"forged")
    store.objects.set_hold("a", True)
    store.objects.extend_retention("a", in_days(1))
    _, first = store.versions("a")[0]
    held = store.client.head_object(Bucket=BUCKET, Key=first["Key"], VersionId=first["VersionId"])
    assert held["ObjectLockLegalHoldStatus"] == "ON"
    assert held["ObjectLockMode"] == "COMPLIANCE"


def test_a_buried_checkpoint_is_still_read_and_replaced(store: Store) -> None:
    for data in (b"1", b"22"):
        store.objects.put("log/checkpoint", data)
    assert list(store.objects.shadowed()) == []
    store.bury("log/checkpoint")
    assert store.objects.get("log/checkpoint") == b"22"
    assert [(info.key, info.size) for info in store.objects.list("log/")] == [("log/checkpoint", 2)]
    assert list(store.objects.shadowed()) == [Shadowed("log/checkpoint", 2, 1)]
    store.objects.put("log/checkpoint", b"333")
    assert store.objects.get("log/checkpoint") == b"333"


def test_only_checkpoints_are_replaced(store: Store) -> None:
    store.objects.create([NewObject("a", b"one")])
    for key in ("a", "b"):
        with pytest.raises(InvariantError, match=f"object {key}: got a put, expected one of keys ending in checkpoint"):
            store.objects.put(key, b"two")
    store.objects.create([NewObject("log/checkpoint", b"1", hold=True)])
    with pytest.raises(RetentionLocked, match="object log/checkpoint: is held"):
        store.objects.put("log/checkpoint", b"2")


# Deletion


def test_deleting_leaves_no_version_and_no_marker(store: Store) -> None:
    store.objects.create([NewObject("a", b"one"), NewObject("ab", b"two")])
    store.overwrite("a", b"forged")
    store.bury("a")
    store.overwrite("a", b"forged again")
    store.bury("a")
    store.objects.delete(["a", "none"])
    assert store.versions("a") == ([], [])
    assert keys(store.objects) == ["ab"]


def test_a_locked_version_below_others_stops_the_deletion(store: Store) -> None:
    store.objects.create([NewObject("a", b"one", in_days(1)), NewObject("b", b"two")])
    store.overwrite("a", b"forged")
    with pytest.raises(RetentionLocked, match="object a: is locked until"):
        store.objects.delete(["b", "a"])
    assert len(store.versions("a")[0]) == 2
    assert keys(store.objects) == ["a", "b"]


def test_a_hold_that_comes_in_between_is_a_lock_too(store: Store) -> None:
    store.objects.create([NewObject("a", b"one")])

    def hold_first(asked: str, path: str) -> None:
        if asked == "POST delete":
            store.client.put_object_legal_hold(
                Bucket=BUCKET, Key=store.config.full_key("a"), LegalHold={"Status": "ON"}
            )

    store.proxy.fault = hold_first
    with pytest.raises(RetentionLocked, match="object a: is held"):
        store.objects.delete(["a"])
    assert store.objects.get("a") == b"one"


# Many writers, and writers that die


def test_of_two_stores_that_create_a_key_at_once_one_wins(store: Store) -> None:
    stores = [store.open(), store.open()]
    barrier = Barrier(2)

    def create(number: int, key: str) -> bytes:
        barrier.wait()
        try:
            stores[number].create([NewObject(key, b"%d" % number)])
        except (LedgerContradiction, Unavailable):
            return b""
        return b"%d" % number

    with ThreadPoolExecutor(2) as pool:
        for round_ in range(8):
            key = f"race/{round_}"
            results = sorted(pool.map(create, range(2), [key, key]))
            assert results[0] == b""
            assert store.objects.get(key) == results[1]
            assert len(store.versions(key)[0]) == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", [1, 12])
def test_a_create_of_many_that_is_cut_short_is_repeated(store: Store, number: int, after: bool) -> None:
    new = [NewObject(f"tile/{at:03}", b"%d" % at, in_days(1), hold=at % 2 == 0) for at in range(12)]
    store.proxy.fault = nth("PUT object", number, Dropped(after))
    with pytest.raises(Unavailable, match=r"s3://audit/.*: Connection was closed"):
        store.objects.create(new)
    store.proxy.fault = nth("PUT object", 1000, Dropped(after))
    there = {info.key: info for info in store.objects.list("")}
    assert all(info.size == len(info.key.removeprefix("tile/").lstrip("0") or "0") for info in there.values())
    assert all(info.retain_until is not None for info in there.values()), "none is there without its lock"
    assert len(there) >= (1 if after else 0)
    store.objects.create(new)
    assert {info.key: info.hold for info in store.objects.list("")} == {item.key: item.hold for item in new}
    assert [store.objects.get(item.key) for item in new] == [item.data for item in new]


def test_a_request_that_the_sdk_sends_again_is_no_contradiction(store: Store) -> None:
    objects = store.open(attempts=2)
    store.proxy.fault = once("PUT object", Dropped(after=True))
    objects.create([NewObject("a", b"one")])
    assert store.proxy.counts["PUT object"] == 2
    assert len(store.versions("a")[0]) == 1


def test_a_contradiction_weighs_more_than_a_failure(store: Store) -> None:
    store.objects.create([NewObject("a", b"one")])
    store.proxy.fault = lambda asked, path: Reply(503, "SlowDown") if path.endswith("/b") else None
    with pytest.raises((LedgerContradiction, Unavailable), match=r"object a|SlowDown"):
        store.objects.create([NewObject("b", b"one"), NewObject("a", b"two")])
    serial = store.open(parallel=1)
    with pytest.raises(LedgerContradiction, match="object a: exists with other bytes"):
        serial.create([NewObject("a", b"two"), NewObject("b", b"one")])


# Failures


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (503, "SlowDown"),
        (503, "ServiceUnavailable"),
        (500, "InternalError"),
        (400, "RequestTimeout"),
        (409, "ConditionalRequestConflict"),
        (409, "OperationAborted"),
        (429, "TooManyRequests"),
        (400, "ExpiredToken"),
    ],
)
def test_what_may_pass_is_unavailable(store: Store, status: int, code: str) -> None:
    store.proxy.fault = always("PUT object", Reply(status, code, (("Retry-After", "7"),)))
    with pytest.raises(Unavailable, match=f"S3 answered {status} {code}") as raised:
        store.objects.create([NewObject("a", b"one")])
    assert raised.value.retry_after == 7.0
    assert store.proxy.counts["PUT object"] == 1, "the store does not retry"


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (403, "InvalidAccessKeyId", "check objects.access_key"),
        (403, "SignatureDoesNotMatch", "check objects.secret_key"),
        (403, "RequestTimeTooSkewed", "let NTP set it"),
        (404, "NoSuchBucket", "aws s3api create-bucket"),
        (400, "AuthorizationHeaderMalformed", "check objects.region"),
    ],
)
def test_what_somebody_must_mend_says_what(store: Store, status: int, code: str, remedy: str) -> None:
    store.proxy.fault = always("PUT object", Reply(status, code))
    with pytest.raises(ConfigurationError, match=f"S3 answered {status} {code}.*{remedy}"):
        store.objects.create([NewObject("a", b"one")])


@pytest.mark.parametrize("asked", ["PUT object", "LIST versions", "GET object"])
def test_what_is_not_allowed_names_the_permissions(store: Store, asked: str) -> None:
    store.objects.create([NewObject("a", b"one")])
    store.proxy.fault = always(asked, Reply(403, "AccessDenied"))
    with pytest.raises(Refused, match=r"403 AccessDenied: as told; allow s3:PutObject, "):
        store.objects.create([NewObject("a", b"one")])


def test_damaged_bytes_are_not_believed(store: Store) -> None:
    store.objects.create([NewObject("a", b"one")])
    store.proxy.fault = always("GET object", Damaged())
    with pytest.raises(Unavailable, match=r"(?i)checksum"):
        store.objects.get("a")
    store.proxy.fault = always("GET object", Dropped(after=True))
    with pytest.raises(Unavailable, match="Connection was closed"):
        store.objects.get("a")


def test_a_service_that_is_away_or_hangs(s3_server: S3Server) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        config = s3_server.config(endpoint=endpoint, attempts=1, connect_seconds=1.0, read_seconds=0.2)
        objects = S3Objects(config)
        try:
            with pytest.raises(Unavailable, match="Could not connect"):
                objects.get("a")
            deaf.listen()
            with pytest.raises(Unavailable, match="Read timeout"):
                objects.create([NewObject("a", b"one")])
            with pytest.raises(Unavailable, match="Read timeout"):
                objects.check()
        finally:
            objects.close()


def test_an_object_that_is_too_large_for_one_part(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "MAX_BYTES", 10)
    with pytest.raises(LimitExceeded, match="object b: got 11 bytes, expected at most 10"):
        store.objects.create([NewObject("a", b"1234567890"), NewObject("b", b"12345678901")])
    assert keys(store.objects) == []


# Listings


def test_listing_goes_through_pages_and_histories(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "PAGE", 5)
    names = [f"log/{at:02}" for at in range(23)]
    store.objects.create([NewObject(key, key.encode()) for key in names])
    for number in range(12):
        store.objects.put("log/1/checkpoint", b"x" * number)
    for _ in range(7):
        store.overwrite("log/07", b"forged")
    for _ in range(6):
        store.bury("log/08")
    expected = sorted([*names, "log/1/checkpoint"])
    assert keys(store.objects) == expected
    for at in (0, 5, 7, 8, 9, 14, 22):
        assert keys(store.objects, "log/", expected[at]) == expected[at + 1 :]
    sizes = {info.key: info.size for info in store.objects.list("log/")}
    assert sizes == dict.fromkeys(names, 6) | {"log/1/checkpoint": 11}
    assert store.objects.get("log/07") == b"log/07"
    assert list(store.objects.shadowed()) == [Shadowed("log/07", 8, 0), Shadowed("log/08", 1, 6)]
    store.objects.delete(names)
    assert keys(store.objects) == ["log/1/checkpoint"]


def test_a_key_is_found_among_those_that_it_begins(store: Store) -> None:
    """``a.versions`` is where one service keeps the versions of ``a``, and so ``a.b`` comes before ``a`` in it."""
    names = ["a", *(f"a.b/{number}" for number in range(9)), "a-b", "a0"]
    store.objects.create([NewObject(key, key.encode()) for key in names])
    assert store.objects.get("a") == b"a"
    assert keys(store.objects, "a") == sorted(names)
    with pytest.raises(KeyError, match=r"a\.b"):
        store.objects.get("a.b")


def test_more_than_a_thousand_keys(store: Store) -> None:
    names = [f"many/{at:04}" for at in range(1003)]
    store.objects.create([NewObject(key, b"x") for key in names])
    store.proxy.counts.clear()
    assert [info.key for info in store.objects.list("many/", locks=False)] == names
    assert store.proxy.counts == {"LIST versions": 2}
    assert [info.key for info in store.objects.list("many/", start_after=names[-4])] == names[-3:]
    assert store.objects.delete(names) is None
    assert keys(store.objects) == []


def test_stores_in_one_bucket_do_not_see_each_other(store: Store) -> None:
    neighbours = [store.open(prefix=f"{store.config.prefix}{ending}") for ending in ("/in", "x")]
    for objects in (store.objects, *neighbours):
        objects.create([NewObject("a", b"one")])
    assert keys(store.objects) == ["a", "in/a"]
    assert [keys(objects) for objects in neighbours] == [["a"], ["a"]]
    neighbours[1].delete(["a"])
    assert store.objects.get("a") == b"one"


def test_foreign_names_in_the_bucket_are_no_objects(store: Store) -> None:
    store.objects.create([NewObject("a", b"one")])
    store.overwrite("b c", b"foreign")
    store.overwrite("b/~x", b"foreign")
    assert keys(store.objects) == ["a"]


# What is asked for, because each request has its price


def test_requests_of_each_method(store: Store) -> None:
    def asked(act: Any) -> dict[str, int]:
        store.proxy.counts.clear()
        act()
        return dict(store.proxy.counts)

    objects = store.objects
    assert asked(lambda: objects.create([NewObject("a", b"1"), NewObject("b", b"2")])) == {"PUT object": 2}
    assert asked(lambda: objects.create([NewObject("a", b"1")])) == {
        "PUT object": 1,
        "LIST versions": 1,
        "GET object": 1,
    }
    assert asked(lambda: objects.get("a")) == {"LIST versions": 1, "GET object": 1}
    assert asked(lambda: objects.head("a")) == {"LIST versions": 1, "HEAD object": 1}
    assert asked(lambda: next(iter(objects.list("")))) == {"LIST versions": 1, "HEAD object": 1}
    assert asked(lambda: objects.put("checkpoint", b"1")) == {"HEAD object": 1, "PUT object": 1}
    assert asked(lambda: objects.get("checkpoint")) == {"GET object": 1}
    assert asked(lambda: objects.delete(["a"])) == {"LIST versions": 1, "HEAD object": 1, "POST delete": 1}
    assert asked(lambda: objects.delete(["a"])) == {"LIST versions": 1}


# Whether a bucket will do


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[str]:
    """A name that no bucket has yet."""
    name = f"bucket-{uuid.uuid4()}"
    client = s3_server.client()
    yield name
    if name in [item["Name"] for item in client.list_buckets()["Buckets"]]:
        client.delete_bucket(Bucket=name)
    client.close()


def check(config: S3Config) -> None:
    objects = S3Objects(config)
    try:
        objects.check()
    finally:
        objects.close()


def test_a_bucket_with_versions_and_locks_will_do(s3_server: S3Server) -> None:
    check(s3_server.config())


def test_a_bucket_that_will_not_do_is_refused_with_the_command_that_mends_it(s3_server: S3Server, bucket: str) -> None:
    config, client = s3_server.config(bucket=bucket, region="us-east-1"), s3_server.client()
    rest = f"--region us-east-1 --endpoint-url {config.endpoint}"
    with pytest.raises(ConfigurationError) as refused:
        check(config)
    assert f"`aws s3api create-bucket --bucket {bucket} --object-lock-enabled-for-bucket {rest}`" in str(refused.value)
    client.create_bucket(Bucket=bucket)
    with pytest.raises(ConfigurationError) as refused:
        check(config)
    assert "got versioning never set, expected Enabled" in str(refused.value)
    assert (
        f"`aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled {rest}`"
        in str(refused.value)
    )
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    mend = (
        f"`aws s3api put-object-lock-configuration --bucket {bucket} "
        f"--object-lock-configuration ObjectLockEnabled=Enabled {rest}`"
    )
    with pytest.raises(ConfigurationError, match=f"bucket {bucket} has no Object Lock") as refused:
        check(config)
    assert mend in str(refused.value)
    default = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=default)
    with pytest.raises(
        ConfigurationError, match=r"got a default retention of .*GOVERNANCE.*, expected none"
    ) as refused:
        check(config)
    assert mend in str(refused.value)
    client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    check(config)
    client.close()


def test_wrong_credentials_are_found_at_the_start(s3_server: S3Server) -> None:
    with pytest.raises(
        ConfigurationError, match=r"S3 answered 403 .*; check objects.access_key and objects.secret_key"
    ):
        check(s3_server.config(secret_key="another"))
    with pytest.raises(
        ConfigurationError, match=r"S3 answered 403 .*; check objects.access_key and objects.secret_key"
    ):
        check(s3_server.config(access_key="nobody"))


@pytest.mark.parametrize("asked", ["GET versioning", "GET object-lock"])
def test_a_check_that_is_not_allowed_names_the_permission(store: Store, asked: str) -> None:
    store.proxy.fault = always(asked, Reply(403, "AccessDenied"))
    with pytest.raises(ConfigurationError, match=r"allow s3:Get(BucketVersioning|BucketObjectLockConfiguration)"):
        store.objects.check()
    store.proxy.fault = always(asked, Reply(503, "SlowDown"))
    with pytest.raises(Unavailable, match="503 SlowDown"):
        store.objects.check()
