"""Making a deployment, and recognising one: its data directory, and what it shares with other machines."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from affidavit.custody import signing_key
from affidavit.layout import Layout
from affidavit.sections import Deployment
from affidavit.settings import Settings, initial_config, make_deployment
from collector.auth import mint_token
from schemas.errors import ConfigurationError
from schemas.ids import EVENTS
from signer.keyfile import create_key, deployment_vkey
from stores.control.database import ControlDatabase
from stores.keys.kek import create_kek_file

FORMAT = "1"
"""Version of the layout. A later version that lays files out differently refuses, or migrates, what it finds."""

ALL_TENANTS = "*"
"""Tenant of a token that may read the records of every tenant: the command line of the directory's own machine."""


def initialise(layout: Layout, deployment: Deployment, settings: Settings) -> list[str]:
    """Make whatever a deployment lacks; return what was made, which is nothing the second time.

    Safe to repeat after a crash at any point: each file appears whole or not at all, and the setting ``format`` is
    written last, so a key that is missing *after* it was lost, and is not replaced. On a further machine of a
    deployment, ``affidavit.toml`` and ``keys`` must have been brought there before.

    Raises:
        ConfigurationError: the directory holds something else, or another deployment, or has lost a key; a server
            refuses us, or has topics that are not what the ledger needs.
        Unavailable: a server cannot be reached.
    """
    made = _make_root(layout)
    if not layout.config.exists():
        write_private(layout.config, initial_config(deployment))
        made.append(f"configuration {layout.config}")
    control = ControlDatabase(control_url(layout, settings))
    try:
        made += [f"control database: migration {name}" for name in control.migrate()]
        complete = control.setting("format") is not None
        if complete:
            _refuse_lost_keys(layout, settings)
        control.fix_setting("deployment", deployment.name)
        control.fix_setting("shards", str(deployment.shards))
        made += _make_keys(layout, deployment, settings)
        made += _make_topics(settings, deployment)
        _check_bucket(settings)
        made += _make_query_token(layout, control)
        control.fix_setting("format", FORMAT)
    finally:
        control.close()
    return made


def is_initialised(layout: Layout) -> bool:
    """Whether the directory is one of ours. Reads nothing but names."""
    return layout.config.is_file() and (layout.control.is_file() or layout.kek.is_file())


def control_url(layout: Layout, settings: Settings) -> str:
    """Where the control database is."""
    url = settings.control.url
    return url.get_secret_value() if url is not None else f"sqlite:///{layout.control}"


def require_initialised(layout: Layout) -> Layout:
    """Return the layout of a data directory that is one.

    Raises:
        ConfigurationError: it is not.
    """
    if not layout.root.is_dir():
        raise ConfigurationError(f"there is no {layout.root}: run affidavit init, or name the directory with --data")
    if not is_initialised(layout):
        raise ConfigurationError(f"{layout.root} is not a data directory: run affidavit init --data {layout.root}")
    return layout


def configured_name(layout: Layout, name: str | None, shards: int | None, current: Deployment) -> Deployment:
    """The deployment that ``init`` shall make: what was asked, or what the configuration has.

    Raises:
        ConfigurationError: the directory was made under another name or with other shards.
    """
    if not is_initialised(layout) and not layout.config.exists():
        return make_deployment(current.name if name is None else name, current.shards if shards is None else shards)
    for what, asked, there in (("name", name, current.name), ("shards", shards, current.shards)):
        if asked is not None and asked != there:
            raise ConfigurationError(
                f"got {what} {asked!r}, but {layout.root} was made with {there!r}, which the ledger holds: "
                "choose another directory"
            )
    return current


def _make_root(layout: Layout) -> list[str]:
    made = []
    if not layout.root.exists():
        layout.root.mkdir(mode=0o700, parents=True)
        made.append(f"data directory {layout.root}")
    elif not is_initialised(layout) and (strange := _strangers(layout)):
        raise ConfigurationError(
            f"{layout.root} is not empty ({', '.join(strange[:3])}): choose an empty or a new directory"
        )
    if layout.root.stat().st_mode & 0o077:
        layout.root.chmod(0o700)
        made.append("mode 0700 of the data directory")
    layout.kek.parent.mkdir(mode=0o700, exist_ok=True)
    return made


def _strangers(layout: Layout) -> list[str]:
    """Names in the directory that neither an interrupted ``init`` nor the container image can have left."""
    folders = {layout.kek.parent.name, layout.lock("any").parent.name, layout.spool(1).parent.name}
    ours = {layout.config.name, layout.control.name, *folders}
    return sorted(entry.name for entry in layout.root.iterdir() if entry.name.split("-")[0] not in ours)


def _make_keys(layout: Layout, deployment: Deployment, settings: Settings) -> list[str]:
    made = []
    if not layout.kek.exists():
        create_kek_file(layout.kek)
        made.append(f"key-encryption key {layout.kek}")
    path = settings.signer.key or layout.signing_key
    if settings.custody.kind == "file" and not path.exists():
        passphrase = settings.signer.passphrase
        create_key(path, passphrase.get_secret_value().encode() if passphrase else None)
        made.append(f"signing key {path}")
    if not layout.verifier_key.exists():
        write_private(layout.verifier_key, deployment_vkey(signing_key(layout, settings), deployment.name) + "\n")
        made.append(f"verifier key {layout.verifier_key}")
    return made


def _make_topics(settings: Settings, deployment: Deployment) -> list[str]:
    if not settings.bus.kafka:
        return []
    from affidavit.servers import kafka_bus

    async def create() -> list[str]:
        bus = kafka_bus(settings, deployment.shards)
        try:
            made = await bus.create_topics()
            await bus.shards(EVENTS)  # looks at the topics that were there already
        finally:
            await bus.close()
        return [f"topic {name}" for name in made]

    return asyncio.run(create())


def _check_bucket(settings: Settings) -> None:
    if settings.objects.bucket:
        from affidavit.servers import s3_config
        from stores.objects.s3 import S3Objects

        store = S3Objects(s3_config(settings))
        try:
            store.check()
        finally:
            store.close()


def _make_query_token(layout: Layout, control: ControlDatabase) -> list[str]:
    if layout.query_token.exists():
        return []
    token = mint_token(
        ALL_TENANTS, "affidavit", ("query", "content"), now_ms=time.time_ns() // 1_000_000, note="command line, by init"
    )
    control.add_token(token.row)
    write_private(layout.query_token, token.text + "\n")
    return [f"query token {layout.query_token}"]


def _refuse_lost_keys(layout: Layout, settings: Settings) -> None:
    for path, loss in (
        (layout.kek, "nothing that was recorded can be read without it"),
        (settings.signer.key or layout.signing_key, "the ledger cannot go on without it"),
    ):
        elsewhere = path != layout.kek and settings.custody.kind != "file"
        if not path.exists() and not elsewhere:
            raise ConfigurationError(f"{path} is missing, and {loss}: restore it from its backup")


def write_private(path: Path, text: str) -> None:
    """Write a new file of mode 0600, whole or not at all, durably."""
    scratch = path.with_name(path.name + ".new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
