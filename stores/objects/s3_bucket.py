"""Whether a bucket can hold what must not change. Each refusal names the command that mends it."""

from __future__ import annotations

from botocore.exceptions import ClientError

from schemas.errors import ConfigurationError
from stores.objects.s3_config import S3Config
from stores.objects.s3_errors import DENIED, classify
from stores.objects.s3_requests import S3Requests, answer

NO_LOCK = frozenset({"ObjectLockConfigurationNotFoundError", "ObjectLockConfigurationNotFound", "404"})


def check_bucket(requests: S3Requests, config: S3Config) -> None:
    """Refuse a bucket that is not there, keeps no versions, has no Object Lock, or locks by default.

    A default retention would lock what must be deleted again, the signer's staging objects first of all; and every
    lock that we need is set on the object itself.

    Raises:
        ConfigurationError: with the ``aws`` command that mends it.
        Unavailable: the service does not answer.
    """
    where = _Where(config)
    try:
        requests.state("head_bucket")
    except ClientError as error:
        reply = answer(error)
        if reply.code in ("404", "NoSuchBucket"):
            raise ConfigurationError(f"bucket {config.bucket} does not exist; create it: {where.create()}") from error
        raise _refused(error, config, "s3:ListBucket") from error
    try:
        versioning = requests.state("get_bucket_versioning").get("Status", "never set")
    except ClientError as error:
        raise _refused(error, config, "s3:GetBucketVersioning") from error
    if versioning != "Enabled":
        raise ConfigurationError(
            f"bucket {config.bucket}: got versioning {versioning}, expected Enabled; switch it on: "
            + where.command("put-bucket-versioning", "--versioning-configuration Status=Enabled")
        )
    mend = where.command("put-object-lock-configuration", "--object-lock-configuration ObjectLockEnabled=Enabled")
    try:
        lock = requests.state("get_object_lock_configuration").get("ObjectLockConfiguration", {})
    except ClientError as error:
        if answer(error).code not in NO_LOCK:
            raise _refused(error, config, "s3:GetBucketObjectLockConfiguration") from error
        lock = {}
    if lock.get("ObjectLockEnabled") != "Enabled":
        raise ConfigurationError(f"bucket {config.bucket} has no Object Lock; switch it on: {mend}")
    if default := lock.get("Rule", {}).get("DefaultRetention"):
        raise ConfigurationError(
            f"bucket {config.bucket}: got a default retention of {default}, expected none: it would lock objects that "
            f"the signer must delete again, and every lock is set object by object; remove it: {mend}"
        )


def _refused(error: ClientError, config: S3Config, permission: str) -> Exception:
    reply, what = answer(error), f"bucket {config.bucket}"
    if reply.code in DENIED:
        return ConfigurationError(
            f"{what}: S3 answered {reply.status} {reply.code}; check objects.access_key and objects.secret_key, and "
            f"allow {permission}"
        )
    return classify(reply, what)


class _Where:
    """The command line for this bucket."""

    def __init__(self, config: S3Config) -> None:
        self._config = config

    def command(self, name: str, arguments: str) -> str:
        endpoint = f" --endpoint-url {self._config.endpoint}" if self._config.endpoint else ""
        region = f" --region {self._config.region}" if self._config.region else ""
        return f"`aws s3api {name} --bucket {self._config.bucket} {arguments}{region}{endpoint}`"

    def create(self) -> str:
        region = self._config.region
        elsewhere = region not in (None, "us-east-1") and self._config.endpoint is None
        place = f" --create-bucket-configuration LocationConstraint={region}" if elsewhere else ""
        return self.command("create-bucket", f"--object-lock-enabled-for-bucket{place}")
