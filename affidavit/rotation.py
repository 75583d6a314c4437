"""Changing the signing key: every open log is closed where it ends, and its successor is signed with the next key.

::

    1  a new key is made beside the old one           nothing has changed yet
    2  the new key takes the old one's place          a signer that starts now halts: the logs are under another key
    3  each open log is succeeded, the anchor log last
    4  the verifier keys are written, the new one first

Whoever dies in between runs it again: logs that are still under another key than the one at hand are all that it looks
at. Where the key is kept elsewhere (``[custody]``), 1 and 2 are done there, and the settings name the new key.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affidavit.deployment import write_private
from affidavit.layout import Layout
from affidavit.settings import Settings
from schemas.errors import ConfigurationError
from schemas.ids import Shard
from signer.keyfile import create_key, deployment_vkey, fingerprint
from signer.note import SigningKey, VerifierKey, format_vkey
from signer.origin import ANCHOR_SHARD
from signer.succession import recorded_key
from stores.control import Control


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """What a rotation would do.

    Attributes:
        behind: shards whose open log is under another key than the one at hand; a rotation that was cut short.
        open: all shards with an open log, the anchor log last.
        makes_key: whether a new key is made: nothing is behind, and the key is a file of ours.
    """

    behind: tuple[Shard, ...]
    open: tuple[Shard, ...]
    makes_key: bool

    @property
    def succeeds(self) -> tuple[Shard, ...]:
        """The shards whose logs are closed and followed."""
        return self.open if self.makes_key else self.behind


def plan_rotation(control: Control, key: SigningKey, settings: Settings) -> RotationPlan:
    """Look at what there is.

    Raises:
        ConfigurationError: the key is kept elsewhere, and the settings still name the one that is in use.
    """
    logs = [log for log in control.logs() if not log.closed]
    order = sorted((log.shard for log in logs), key=lambda shard: (shard == ANCHOR_SHARD, shard))
    behind = {log.shard for log in logs if recorded_key(log).public_key != key.public_key}
    is_file = settings.custody.kind == "file"
    if not behind and not is_file:
        raise ConfigurationError(
            f"custody is {settings.custody.kind}, and the key that the settings name is the one in use: make or rotate "
            "the key there, name it (custody.key_id, custody.version), and run this again"
        )
    return RotationPlan(tuple(shard for shard in order if shard in behind), tuple(order), not behind and is_file)


def replace_key(layout: Layout, settings: Settings, key: SigningKey) -> Path:
    """Steps 1 and 2; returns where the old key lies now."""
    path = settings.signer.key or layout.signing_key
    secret = settings.signer.passphrase
    fresh = path.with_name(path.name + ".next")
    fresh.unlink(missing_ok=True)
    create_key(fresh, secret.get_secret_value().encode() if secret else None)
    former = path.with_name(f"{path.name}.former-{fingerprint(key.public_key)[7:].replace(' ', '')[:8]}")
    if not former.exists():
        os.link(path, former)
    # If we die here: the old key is in use, under two names.
    fresh.replace(path)
    return former


def write_verifier_keys(layout: Layout, name: str, key: SigningKey, former: Sequence[bytes]) -> list[str]:
    """Step 4; returns the lines."""
    lines = [deployment_vkey(key, name), *(format_vkey(VerifierKey(name, one)) for one in former)]
    write_private(layout.verifier_key, "".join(f"{line}\n" for line in lines))
    return lines
