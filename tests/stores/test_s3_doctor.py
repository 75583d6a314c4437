"""The bucket's doctor: on a service whose locks hold, on one whose locks do not, and on settings that are wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto_server import MotoServer, moto_server
from s3_server import S3Server

from affidavit.cli import exits
from affidavit.cli.main import run
from stores.objects.s3_config import S3Config
from stores.objects.s3_doctor import examine, probe, weighing


@pytest.fixture(scope="module")
def service() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoServer]:
    with moto_server() as server:
        yield server


def states(findings: Any) -> dict[str, str]:
    return {finding.name: finding.state for finding in findings}


@pytest.mark.slow
def test_a_service_whose_locks_hold(service: S3Server) -> None:
    found = states(probe(service.config()))
    assert len(found) == 12
    assert set(found.values()) == {"ok"}, found
    settings = states(examine(service.config()))
    assert {settings[name] for name in ("bucket", "versioning", "object lock", "default retention")} == {"ok"}
    assert "failure" not in settings.values()


@pytest.mark.slow
def test_a_service_whose_locks_do_not(moto: MotoServer) -> None:
    """moto lets a COMPLIANCE lock be shortened, and versioning be suspended: the probe must say so, as the table of
    docs/object-lock.md does."""
    client = moto.client()
    client.create_bucket(Bucket="weak", ObjectLockEnabledForBucket=True)
    config = S3Config("weak", endpoint=moto.url, region="us-east-1", access_key="test", secret_key="test")
    found = list(probe(config))
    failed = {finding.name for finding in found if finding.state == "failure"}
    assert failed == {
        "read the lock back",
        "shorten its lock",
        "weaken its lock to GOVERNANCE",
        "suspend versioning",
    }
    assert all(finding.remedy for finding in found if finding.state == "failure")


@pytest.mark.slow
def test_settings_that_are_wrong(moto: MotoServer) -> None:
    client = moto.client()
    client.create_bucket(Bucket="plain")
    config = S3Config("plain", endpoint=moto.url, region="us-east-1", access_key="test", secret_key="test")
    found = states(examine(config))
    assert found["versioning"] == "failure"
    assert found["object lock"] == "failure"
    client.create_bucket(Bucket="wrong", ObjectLockEnabledForBucket=True)
    client.put_object_lock_configuration(
        Bucket="wrong",
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
        },
    )
    client.put_bucket_lifecycle_configuration(
        Bucket="wrong",
        LifecycleConfiguration={
            "Rules": [{"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}]
        },
    )
    client.put_bucket_policy(
        Bucket="wrong",
        Policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:role/admin"}, "Action": "s3:*",
                     "Resource": "arn:aws:s3:::wrong/*"}
                ],
            }
        ),
    )  # fmt: skip
    wrong = {finding.name: finding for finding in examine(S3Config(**{**_fields(config), "bucket": "wrong"}))}
    assert wrong["default retention"].state == "failure"
    assert wrong["lifecycle"].state == "failure"
    assert "tidy" in wrong["lifecycle"].found
    assert wrong["policy"].state == "warning"
    assert "arn:aws:iam::1:role/admin: s3:BypassGovernanceRetention" in wrong["policy"].found
    assert states(examine(S3Config(**{**_fields(config), "bucket": "nowhere"}))) == {"bucket": "failure"}


def _fields(config: S3Config) -> dict[str, Any]:
    return {
        "endpoint": config.endpoint,
        "region": config.region,
        "access_key": config.access_key,
        "secret_key": config.secret_key,
    }


@pytest.mark.parametrize(
    ("statement", "actions"),
    [
        ({"Effect": "Allow", "Principal": "*", "Action": "s3:Bypass*"}, ["s3:BypassGovernanceRetention"]),
        ({"Effect": "Deny", "Principal": "*", "Action": "s3:*"}, []),
        (
            {"Effect": "Allow", "Principal": {"AWS": ["a", "b"]}, "Action": ["s3:GetObject", "S3:PUTOBJECTLEGALHOLD"]},
            ["s3:PutObjectLegalHold"],
        ),
        ({"Effect": "Allow", "Principal": {"AWS": "a"}, "Action": "s3:GetObject"}, []),
    ],
)  # fmt: skip
def test_what_weighs_in_a_policy(statement: dict[str, Any], actions: list[str]) -> None:
    assert [action for action, _, _ in weighing({"Statement": statement})] == actions
    assert [action for action, _, _ in weighing({"Statement": [statement]})] == actions


class Silent:
    """A service that answers no question about settings but that the bucket is there."""

    def head_bucket(self, **asked: Any) -> dict[str, Any]:
        return {}

    def __getattr__(self, name: str) -> Any:
        def refuse(**asked: Any) -> Any:
            raise ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, name)

        return refuse


def test_what_may_not_be_asked_is_unknown() -> None:
    found = states(examine(S3Config("audit"), Silent()))
    assert found["versioning"] == found["policy"] == found["lifecycle"] == "unknown"
    assert found["object lock"] == "failure", "locks that cannot be seen cannot be relied on"


@pytest.mark.slow
def test_the_command(
    service: S3Server, tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFIDAVIT_DATA", str(tmp_path))
    assert run(["archive", "doctor"]) == exits.USAGE
    assert "objects.bucket is not set" in capsys.readouterr().err
    config = service.config()
    for name, value in (
        ("BUCKET", config.bucket),
        ("ENDPOINT", config.endpoint),
        ("ACCESS_KEY", config.access_key),
        ("SECRET_KEY", config.secret_key),
        ("PREFIX", config.prefix),
    ):
        monkeypatch.setenv(f"AFFIDAVIT_OBJECTS_{name}", str(value))
    assert run(["archive", "doctor", "--probe", "--json"]) == exits.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["healthy"] is True
    assert {"delete it with bypass", "policy"} <= {check["name"] for check in document["checks"]}
    assert run(["archive", "doctor"]) == exits.DONE
    out = capsys.readouterr()
    assert "versioning" in out.out
    assert "--probe tries" in out.err
