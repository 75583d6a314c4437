"""Whom a verifier believes: the keys of a deployment, from the lines that ``affidavit keys show`` prints. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schemas.errors import MalformedInput
from signer.note import ED25519, VerifierKey, parse_vkey
from signer.origin import check_deployment


class Trust(NamedTuple):
    """Ed25519 public keys (32 bytes each) that may sign logs of ``deployment``."""

    deployment: str
    public_keys: tuple[bytes, ...]

    def keys(self, origin: str) -> list[VerifierKey]:
        """The keys that may sign the checkpoints of one log: ours, under the log's origin."""
        return [VerifierKey(origin, public_key) for public_key in self.public_keys]


def parse_trust(vkeys: Sequence[str]) -> Trust:
    """Read deployment keys (:func:`signer.keyfile.deployment_vkey`), one or more, of one deployment.

    Raises:
        MalformedInput: no key, not Ed25519, or of different deployments.
    """
    keys = [parse_vkey(vkey) for vkey in vkeys]
    names = {key.name for key in keys}
    if len(names) != 1 or any(key.algorithm != ED25519 for key in keys):
        raise MalformedInput(
            f"got keys of {', '.join(sorted(names)) or 'nobody'}, expected one or more Ed25519 keys of one deployment, "
            "as affidavit keys show prints them"
        )
    return Trust(check_deployment(keys[0].name), tuple(key.public_key for key in keys))
