"""What an answer of S3 that is no success means to us. Pure; :mod:`stores.objects.s3_requests` brings the answers."""

from __future__ import annotations

from typing import NamedTuple

from schemas.errors import AffidavitError, ConfigurationError, LimitExceeded, Refused, Unavailable


class Answer(NamedTuple):
    """An error as the service worded it. ``retry_after`` is in seconds; HEAD answers have their status as ``code``."""

    code: str
    status: int
    message: str
    retry_after: float | None = None


BUSY = frozenset(
    {
        "SlowDown",
        "ServiceUnavailable",
        "InternalError",
        "InternalServerError",
        "RequestTimeout",
        "RequestTimeoutException",
        "RequestThrottled",
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequests",
        "BandwidthLimitExceeded",
        "OperationAborted",
        "ConditionalRequestConflict",
        "503 SlowDown",
        "QuotaExceeded",
        "XMinioStorageFull",
    }
)
"""Codes that a later try may not meet again."""

REMEDIES = {
    "NoSuchBucket": "create the bucket, with Object Lock: `aws s3api create-bucket --object-lock-enabled-for-bucket …`",
    "InvalidAccessKeyId": "the service does not know the access key; check objects.access_key",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key; check objects.secret_key",
    "InvalidToken": "the session token is not valid; get new credentials",
    "AuthorizationHeaderMalformed": "the region is not the bucket's; check objects.region",
    "PermanentRedirect": "the bucket is in another region; check objects.region and objects.endpoint",
    "IllegalLocationConstraintException": "the bucket is in another region; check objects.region",
    "301": "the bucket is in another region; check objects.region and objects.endpoint",
    "RequestTimeTooSkewed": "this machine's clock is wrong; let NTP set it",
    "InvalidBucketName": "check objects.bucket",
}
"""Codes that no later try will be without, until somebody does what stands here."""

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
"""The SDK fetches new credentials by itself, where they come from a role; so these pass."""

PERMISSIONS = (
    "allow s3:PutObject, GetObject, GetObjectVersion, DeleteObjectVersion, ListBucket, ListBucketVersions, "
    "PutObjectRetention, GetObjectRetention, PutObjectLegalHold and GetObjectLegalHold on the bucket and its objects"
)

ABSENT = frozenset({"NoSuchKey", "NoSuchVersion", "404"})
"""There is no such object or version, or it is a delete marker."""

EXISTS = frozenset({"PreconditionFailed", "412"})
"""A write on condition that nothing is there met something."""

DENIED = frozenset({"AccessDenied", "403", "ObjectLocked"})
"""Permission or lock: S3 has one word for both."""


def classify(answer: Answer, what: str) -> AffidavitError:
    """The error to raise, where the caller does not expect this answer.

    Args:
        what: what was asked, to begin the message with.
    """
    said = f"{what}: S3 answered {answer.status} {answer.code}: {answer.message}"
    if answer.code in REMEDIES:
        return ConfigurationError(f"{said}; {REMEDIES[answer.code]}")
    if answer.code in DENIED:
        return Refused(f"{said}; {PERMISSIONS}")
    if answer.code in ("NotImplemented", "501"):
        return Refused(said)
    if answer.code == "EntityTooLarge":
        return LimitExceeded(said)
    if answer.code in BUSY or answer.code in EXPIRED or answer.status >= 500 or answer.status in (408, 409, 429):
        return Unavailable(said, retry_after=1.0 if answer.retry_after is None else answer.retry_after)
    return Refused(said)
