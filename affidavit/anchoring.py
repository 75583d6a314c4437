"""From settings to anchors, and to the policy that says what they are worth. Secrets leave their wrapping here."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from affidavit.sections import AnchorSettings
from affidavit.settings import Settings
from schemas.errors import ConfigurationError, MalformedInput
from signer.anchors import Anchor
from signer.note import COSIGNATURE_V1, ED25519, VerifierKey, parse_vkey
from signer.policy import Authority, Group, Policy, RekorLog, Witness
from signer.succession import recorded_key
from signer.trust import Trust

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from signer.anchors.object_lock import ObjectLockAnchor
    from signer.attested import CopyStores
    from stores.control import Control
    from stores.objects import Objects

TIMEOUT_SECONDS = 10.0
REKOR_SECONDS = 30.0
SHORTEST_AGE_SECONDS = 60
"""However often anchors are asked: one that is restarted is not a finding."""

ALL_WITNESSES = "witnesses"
"""The group of a policy that asks for every witness of the settings."""


def make_anchors(settings: Settings, public_keys: Sequence[bytes]) -> list[Anchor]:
    """The anchors of ``settings.anchors``.

    Args:
        settings: of the deployment.
        public_keys: the deployment's keys, former ones too: what they signed is proof.

    Raises:
        ConfigurationError: a file that cannot be read or does not hold what it should.
    """
    return [_make(name, own, public_keys) for name, own in settings.anchors.items()]


def make_anchor(settings: Settings, name: str, public_keys: Sequence[bytes]) -> Anchor:
    """One of them.

    Raises:
        ConfigurationError: as in :func:`make_anchors`, or no section has this name.
    """
    if name not in settings.anchors:
        known = ", ".join(settings.anchors) or "none"
        raise ConfigurationError(f"there is no section [anchors.{name}] in the settings; there is: {known}")
    return _make(name, settings.anchors[name], public_keys)


def make_policy(settings: Settings, trust: Trust) -> Policy:
    """The policy that asks for every witness of the settings, and for one of its authorities."""
    witnesses = tuple(
        Witness(name, _vkey(name, own, COSIGNATURE_V1), own.url)
        for name, own in settings.anchors.items()
        if own.kind == "witness"
    )
    names = tuple(one.name for one in witnesses)
    groups = (Group(ALL_WITNESSES, len(names), names),) if names else ()
    authorities = tuple(_authority(name, own) for name, own in settings.anchors.items() if own.kind == "tsa")
    rekor = tuple(
        RekorLog(name, _vkey(name, own, ED25519)) for name, own in settings.anchors.items() if own.kind == "rekor"
    )
    quorum = ALL_WITNESSES if names else ""
    slowest = max((_interval(own) for own in settings.anchors.values() if own.kind in ("tsa", "witness")), default=0)
    age = int(max(SHORTEST_AGE_SECONDS, 10 * slowest)) if witnesses or authorities else None
    return Policy(trust, witnesses, groups, quorum, authorities, min(1, len(authorities)), rekor, age)


def copy_stores(settings: Settings) -> CopyStores:
    """The stores of the settings that hold locked copies."""
    from signer.anchors.object_lock import locked_copies

    return {_place(own): partial(locked_copies, _vault(own)) for own in settings.anchors.values() if own.kind == "lock"}


def certificate_ends(path: Path) -> datetime:
    """When the authority's own certificate, the first in a PEM file, is no longer valid."""
    from signer.tokens import load_chain, read_authority

    return load_chain(read_authority("authority", _read(path)))[0].not_valid_after_utc


def deployment_keys(control: Control, current: bytes) -> list[bytes]:
    """The public keys that have signed for a deployment, the current one first."""
    former = {recorded_key(log).public_key for log in control.logs()} - {current}
    return [current, *sorted(former)]


def _make(name: str, own: AnchorSettings, public_keys: Sequence[bytes]) -> Anchor:
    match own.kind:
        case "tsa":
            from signer.anchors.tsa import TimeStampAnchor

            return TimeStampAnchor(_authority(name, own), own.url, _client(own), _interval(own))
        case "witness":
            from signer.anchors.witness import WitnessAnchor

            witness = Witness(name, _vkey(name, own, COSIGNATURE_V1), own.url)
            return WitnessAnchor(witness, public_keys, _client(own), _interval(own))
        case "rekor":
            from signer.anchors.rekor import RekorAnchor

            log = RekorLog(name, _vkey(name, own, ED25519))
            return RekorAnchor(log, own.url, _ecdsa_key(own), _client(own, REKOR_SECONDS), _interval(own))
        case "lock":
            return _lock(name, own, public_keys)


def _lock(name: str, own: AnchorSettings, public_keys: Sequence[bytes]) -> ObjectLockAnchor:
    from signer.anchors.object_lock import ObjectLockAnchor

    return ObjectLockAnchor(
        name,
        _vault(own),
        _place(own),
        public_keys,
        retain_days=own.retain_days,
        interval_seconds=_interval(own),
    )


def _vault(own: AnchorSettings) -> Objects:
    if own.directory is not None:
        from stores.objects.local import LocalObjects

        return LocalObjects(own.directory)
    from stores.objects.s3 import S3Objects
    from stores.objects.s3_config import S3Config

    secret = own.secret_key.get_secret_value() if own.secret_key else None
    return S3Objects(
        S3Config(
            own.bucket,
            own.prefix.strip("/"),
            own.endpoint or None,
            own.region or None,
            own.access_key or None,
            secret,
            ca_file=own.ca_file,
            replaceable=frozenset(),
        )
    )


def _place(own: AnchorSettings) -> str:
    if own.directory is not None:
        return str(own.directory)
    return f"s3://{own.bucket}/{own.prefix.strip('/')}".rstrip("/")


def _interval(own: AnchorSettings) -> float:
    if own.interval_seconds is not None:
        return own.interval_seconds
    return {"tsa": 60.0, "witness": 10.0, "lock": 10.0, "rekor": 3600.0}[own.kind]


def _authority(name: str, own: AnchorSettings) -> Authority:
    from signer.tokens import read_authority

    assert own.certificates is not None
    try:
        return read_authority(name, _read(own.certificates))
    except MalformedInput as error:
        raise ConfigurationError(f"anchors.{name}.certificates: {own.certificates}: {error}") from None


def _vkey(name: str, own: AnchorSettings, algorithm: int) -> VerifierKey:
    try:
        key = parse_vkey(own.vkey)
    except MalformedInput as error:
        raise ConfigurationError(f"anchors.{name}.vkey: {error}") from None
    if key.algorithm != algorithm:
        raise ConfigurationError(
            f"anchors.{name}.vkey: got a key of type {key.algorithm:#04x}, expected {algorithm:#04x} for a {own.kind}"
        )
    return key


def _ecdsa_key(own: AnchorSettings) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = own.signing_key
    assert path is not None
    pem = _read(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigurationError(f"{path} can be read by others, expected mode 0600: chmod 600 {path}")
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{path}: no PEM key without a passphrase: {error}") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise ConfigurationError(f"{path}: got another kind of key, expected ECDSA P-256")
    return key


def _client(own: AnchorSettings, seconds: float = TIMEOUT_SECONDS) -> httpx.Client:
    auth = (own.username, own.password.get_secret_value() if own.password else "") if own.username else None
    try:
        context = ssl.create_default_context(cafile=str(own.ca_file) if own.ca_file else None)
    except OSError as error:
        raise ConfigurationError(f"cannot read {own.ca_file}: {error.strerror or error}") from None
    return httpx.Client(timeout=seconds, auth=auth, verify=context)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
