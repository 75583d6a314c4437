"""Whether a bucket is fit to hold what must not change: what its settings say, and, asked to, what its service does.

:func:`examine` reads settings and changes nothing. :func:`probe` writes objects of its own and tries what must be
refused; one of them is locked until tomorrow and stays so long. A service that fails a probe takes our locks and does
not keep them: no setting shows that.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from stores.objects.s3_config import S3Config
from stores.objects.s3_requests import answer, open_client

State = Literal["ok", "warning", "failure", "unknown"]

BYPASS = (
    (
        "s3:BypassGovernanceRetention",
        "may delete what is locked in GOVERNANCE mode; ours is in COMPLIANCE, which nobody may",
    ),
    ("s3:PutObjectLegalHold", "may take legal holds off"),
    ("s3:PutBucketObjectLockConfiguration", "may change the default retention"),
    ("s3:PutLifecycleConfiguration", "may have old versions expire once their locks have ended"),
    ("s3:DeleteObjectVersion", "may delete versions once their locks have ended"),
)
"""Actions that weigh, and what who has them may do."""

_ABSENT = frozenset(
    {
        "NoSuchBucketPolicy",
        "NoSuchLifecycleConfiguration",
        "NoSuchPublicAccessBlockConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
        "ReplicationConfigurationNotFoundError",
        "404",
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. ``remedy`` is ``""`` where nothing is to be done."""

    name: str
    state: State
    found: str
    remedy: str = ""


def examine(config: S3Config, client: Any = None) -> Iterator[Finding]:
    """What the bucket's settings say. Never raises for what a service does not answer: that is ``unknown``."""
    s3 = client if client is not None else open_client(config)
    there = _ask(s3, "head_bucket", config)
    if isinstance(there, Exception):
        yield Finding(
            "bucket", "failure", f"{config.bucket}: {_said(there)}", "create it with Object Lock, or check the keys"
        )
        return
    yield Finding("bucket", "ok", config.bucket)
    yield _versioning(s3, config)
    yield from _lock(s3, config)
    yield _policy(s3, config)
    yield _public(s3, config)
    yield _lifecycle(s3, config)
    yield _encryption(s3, config)
    yield _replication(s3, config)


def _versioning(s3: Any, config: S3Config) -> Finding:
    found = _ask(s3, "get_bucket_versioning", config)
    if isinstance(found, Exception):
        return Finding("versioning", "unknown", _said(found), "allow s3:GetBucketVersioning")
    status = found.get("Status", "never set")
    if status == "Enabled":
        return Finding("versioning", "ok", "Enabled")
    return Finding("versioning", "failure", status, "aws s3api put-bucket-versioning … Status=Enabled")


def _lock(s3: Any, config: S3Config) -> Iterator[Finding]:
    found = _ask(s3, "get_object_lock_configuration", config)
    if isinstance(found, Exception):
        yield Finding("object lock", "failure", _said(found), "make the bucket with --object-lock-enabled-for-bucket")
        return
    lock = found.get("ObjectLockConfiguration", {})
    if lock.get("ObjectLockEnabled") != "Enabled":
        yield Finding("object lock", "failure", "not enabled", "aws s3api put-object-lock-configuration …")
        return
    yield Finding("object lock", "ok", "Enabled")
    if default := lock.get("Rule", {}).get("DefaultRetention"):
        yield Finding(
            "default retention",
            "failure",
            str(default),
            "remove it: every lock is set on the object itself, and a default locks what must be deleted again",
        )
    else:
        yield Finding("default retention", "ok", "none: each object has its own date")


def _policy(s3: Any, config: S3Config) -> Finding:
    """Who the bucket's own policy lets do what weighs. What identities' policies allow is not to be seen from here."""
    found = _ask(s3, "get_bucket_policy", config)
    if _is_absent(found):
        return Finding("policy", "ok", "none; what identities may do is in IAM: look there for " + BYPASS[0][0])
    if isinstance(found, Exception):
        return Finding("policy", "unknown", _said(found), "allow s3:GetBucketPolicy")
    allowed = weighing(json.loads(found["Policy"]))
    if not allowed:
        return Finding("policy", "ok", "lets nobody do what weighs")
    told = "; ".join(f"{who}: {action}, {what}" for action, who, what in allowed)
    return Finding("policy", "warning", told, "take it away, but from the role of the retention job")


def weighing(policy: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Action, principal and consequence of each statement that allows something of :data:`BYPASS`. Pure."""
    found = []
    statements = policy.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        if statement.get("Effect") != "Allow":
            continue
        actions = statement.get("Action", [])
        given = [actions] if isinstance(actions, str) else list(actions)
        for action, consequence in BYPASS:
            if any(_covers(one, action) for one in given):
                found.append((action, _principal(statement.get("Principal")), consequence))
    return found


def _covers(pattern: str, action: str) -> bool:
    """Whether a pattern of a policy names an action; ``*`` stands for anything."""

    return fnmatch.fnmatchcase(action.lower(), pattern.lower())


def _principal(principal: Any) -> str:
    if isinstance(principal, dict):
        values = [one for value in principal.values() for one in ([value] if isinstance(value, str) else value)]
        return ", ".join(map(str, values)) or "nobody"
    return "everybody" if principal == "*" else str(principal)


def _public(s3: Any, config: S3Config) -> Finding:
    found = _ask(s3, "get_public_access_block", config)
    if isinstance(found, Exception):
        state: State = "warning" if _is_absent(found) else "unknown"
        return Finding("public access", state, _said(found), "aws s3api put-public-access-block … all four true")
    block = found.get("PublicAccessBlockConfiguration", {})
    open_ = [
        name
        for name in ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        if not block.get(name)
    ]
    if open_:
        return Finding("public access", "warning", f"{', '.join(open_)} off", "turn all four on")
    return Finding("public access", "ok", "blocked")


def _lifecycle(s3: Any, config: S3Config) -> Finding:
    found = _ask(s3, "get_bucket_lifecycle_configuration", config)
    if _is_absent(found):
        return Finding("lifecycle", "ok", "no rules")
    if isinstance(found, Exception):
        return Finding("lifecycle", "unknown", _said(found), "allow s3:GetLifecycleConfiguration")
    expiring = [
        rule.get("ID", "?")
        for rule in found.get("Rules", [])
        if rule.get("Status") == "Enabled" and ("Expiration" in rule or "NoncurrentVersionExpiration" in rule)
    ]
    if expiring:
        return Finding(
            "lifecycle",
            "failure",
            f"rules expire objects: {', '.join(expiring)}",
            "remove them: they know nothing of holds, and delete as soon as a lock ends",
        )
    return Finding("lifecycle", "ok", "no rule expires anything")


def _encryption(s3: Any, config: S3Config) -> Finding:
    found = _ask(s3, "get_bucket_encryption", config)
    if isinstance(found, Exception):
        return Finding("encryption", "ok" if _is_absent(found) else "unknown", _said(found))
    rules = found.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    kinds = {rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", "?") for rule in rules}
    if "aws:kms" in kinds:
        return Finding(
            "encryption",
            "warning",
            "a KMS key of your own",
            "who deletes that key destroys everything, locks or not: forbid kms:ScheduleKeyDeletion",
        )
    return Finding("encryption", "ok", ", ".join(sorted(kinds)) or "the service's own")


def _replication(s3: Any, config: S3Config) -> Finding:
    found = _ask(s3, "get_bucket_replication", config)
    if _is_absent(found):
        return Finding(
            "replication", "warning", "none: there is one copy", "replicate to another account, with Object Lock there"
        )
    if isinstance(found, Exception):
        return Finding("replication", "unknown", _said(found))
    return Finding("replication", "ok", f"{len(found.get('ReplicationConfiguration', {}).get('Rules', []))} rules")


def probe(config: S3Config, now: datetime | None = None, client: Any = None) -> Iterator[Finding]:
    """Try on objects of our own what must be refused, and what must work. One object stays locked until tomorrow.

    Args:
        now: UTC; the service's clock may be some minutes off.
    """
    s3 = client if client is not None else open_client(config)
    until = (now or datetime.now(UTC)).replace(microsecond=0) + timedelta(days=1)
    key = config.full_key(f"doctor/{until:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}")
    at: dict[str, Any] = {"Bucket": config.bucket, "Key": key}
    try:
        put = s3.put_object(
            **at, **_body(b"locked"), ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until, IfNoneMatch="*"
        )
        version = put["VersionId"]
    except (ClientError, BotoCoreError, KeyError) as error:
        yield Finding(
            "write a locked object", "failure", _said(error), "allow s3:PutObjectRetention; see the checks above"
        )
        return
    yield Finding("write a locked object", "ok", f"{key}, locked until {until:%Y-%m-%d %H:%M} UTC")
    this = {**at, "VersionId": version}
    yield _refused(
        "write the same key again with If-None-Match", s3.put_object, **at, **_body(b"other"), IfNoneMatch="*"
    )
    yield _shows_lock(s3, this, until)
    yield _refused("delete the locked version", s3.delete_object, **this)
    yield _refused("delete it with bypass", s3.delete_object, **this, BypassGovernanceRetention=True)
    yield _refused_in_bulk(s3, config, key, version)
    earlier = {"Mode": "COMPLIANCE", "RetainUntilDate": until - timedelta(hours=12)}
    yield _refused("shorten its lock", s3.put_object_retention, **this, Retention=earlier)
    weaker = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
    yield _refused(
        "weaken its lock to GOVERNANCE",
        s3.put_object_retention,
        **this,
        Retention=weaker,
        BypassGovernanceRetention=True,
    )
    yield _refused("suspend versioning", _suspend, s3, config)
    yield _kept(s3, this)
    yield from _holds(s3, config, at)


def _holds(s3: Any, config: S3Config, at: dict[str, Any]) -> Iterator[Finding]:
    """A legal hold without a date: it keeps, and can be taken off, and then the object goes."""
    held = {**at, "Key": at["Key"] + "-held"}
    try:
        version = s3.put_object(**held, **_body(b"held"), ObjectLockLegalHoldStatus="ON")["VersionId"]
        this = {**held, "VersionId": version}
        yield _refused("delete a version under legal hold", s3.delete_object, **this, BypassGovernanceRetention=True)
        s3.put_object_legal_hold(**this, LegalHold={"Status": "OFF"})
        s3.delete_object(**this)
        yield Finding("take a legal hold off, and delete", "ok", "as it should")
    except (ClientError, BotoCoreError, KeyError) as error:
        yield Finding("legal hold", "failure", _said(error), "allow s3:PutObjectLegalHold")


def _shows_lock(s3: Any, this: dict[str, Any], until: datetime) -> Finding:
    name = "read the lock back"
    try:
        found = s3.get_object_retention(**this)["Retention"]
    except (ClientError, BotoCoreError, KeyError) as error:
        return Finding(name, "failure", _said(error), "allow s3:GetObjectRetention: without it a lock cannot be seen")
    if found.get("Mode") != "COMPLIANCE" or abs((found["RetainUntilDate"] - until).total_seconds()) > 1:
        return Finding(name, "failure", f"got {found}, expected COMPLIANCE until {until}")
    return Finding(name, "ok", "COMPLIANCE, to the second")


def _refused_in_bulk(s3: Any, config: S3Config, key: str, version: str) -> Finding:
    name = "delete it in bulk"
    try:
        found = s3.delete_objects(
            Bucket=config.bucket, Delete={"Objects": [{"Key": key, "VersionId": version}], "Quiet": False}
        )
    except (ClientError, BotoCoreError) as error:
        return Finding(name, "ok", f"refused: {_said(error)}")
    if found.get("Errors"):
        return Finding(name, "ok", f"refused: {found['Errors'][0].get('Code')}")
    return Finding(name, "failure", "the service says that it deleted it", _USELESS)


def _kept(s3: Any, this: dict[str, Any]) -> Finding:
    """Whatever was answered before: is it there?"""
    name = "the locked version is still there"
    try:
        data = s3.get_object(**this)["Body"].read()
    except (ClientError, BotoCoreError) as error:
        return Finding(name, "failure", _said(error), _USELESS)
    return Finding(name, "ok", "unchanged") if data == b"locked" else Finding(name, "failure", "other bytes", _USELESS)


_USELESS = "locks of this service do not hold: keep what must not change elsewhere"


def _refused(name: str, call: Callable[..., Any], *given: Any, **asked: Any) -> Finding:
    try:
        call(*given, **asked)
    except (ClientError, BotoCoreError) as error:
        return Finding(name, "ok", f"refused: {_said(error)}")
    return Finding(name, "failure", "was not refused", _USELESS)


def _body(data: bytes) -> dict[str, Any]:
    """S3 takes nothing with a lock that has no checksum."""
    digest = b64encode(hashlib.sha256(data).digest()).decode()
    return {"Body": data, "ChecksumAlgorithm": "SHA256", "ChecksumSHA256": digest}


def _suspend(s3: Any, config: S3Config) -> None:
    s3.put_bucket_versioning(Bucket=config.bucket, VersioningConfiguration={"Status": "Suspended"})
    s3.put_bucket_versioning(Bucket=config.bucket, VersioningConfiguration={"Status": "Enabled"})


def _ask(s3: Any, name: str, config: S3Config) -> Any:
    """The answer, or what was raised instead."""
    try:
        return getattr(s3, name)(Bucket=config.bucket)
    except (ClientError, BotoCoreError) as error:
        return error


def _is_absent(found: Any) -> bool:
    return isinstance(found, ClientError) and answer(found).code in _ABSENT


def _said(error: Exception) -> str:
    if isinstance(error, ClientError):
        reply = answer(error)
        return f"{reply.status} {reply.code}"
    return f"{type(error).__name__}: {error}"[:200]
