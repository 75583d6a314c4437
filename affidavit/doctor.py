"""Checks of a data directory and of the machine, each with its remedy."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from affidavit.anchoring import certificate_ends, make_anchor
from affidavit.custody import signing_key
from affidavit.deadletters import choose, read_letters
from affidavit.deployment import control_url, is_initialised
from affidavit.engine import query_client
from affidavit.forwarders import FORWARDERS, wanted_forwarders
from affidavit.layout import Layout
from affidavit.lock import CLICKHOUSE, COLLECTOR, running
from affidavit.query import QueryClient
from affidavit.settings import Settings, load
from affidavit.status import Status, read_status
from affidavit.wiring import Wiring
from collector.auth import token_digest
from schemas.errors import AffidavitError, ConfigurationError
from signer.genesis import parse_genesis
from signer.keyfile import show_key
from signer.origin import ANCHOR_SHARD
from stores.control.database import HEAD, ControlDatabase
from stores.keys.kek import FileKek

FREE_BYTES_LOW = 5 << 30
FREE_BYTES_NONE = 512 << 20
"""Below this the next batch may not fit, and the collector answers 503."""

EXPIRES_SOON_MS = 7 * 86_400_000
LAG_RECORDS = 100_000
SKEW_MS = 60_000


CERTIFICATE_DAYS = 60
"""How long before its end the certificate of an authority is worth a warning: policies have to be handed out again."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: ``ok``; ``warning`` works, and will not for ever; ``failure`` does not work."""

    name: str
    state: Literal["ok", "warning", "failure"]
    found: str
    remedy: str = ""


def examine(layout: Layout) -> Iterator[Check]:
    """All checks, in the order in which a person would want them mended. Later ones need earlier ones."""
    if not is_initialised(layout):
        yield Check("directory", "failure", f"{layout.root} is not a data directory", "run affidavit init")
        return
    yield from _permissions(layout)
    settings, check = _settings(layout)
    yield check
    if settings is None:
        return
    yield _migrations(layout, settings)
    yield from _keys(layout, settings)
    yield _disk(layout)
    yield from _ports(layout, settings)
    try:
        with Wiring(layout, settings) as wiring:
            yield from _tokens(wiring)
            yield from _outside(wiring)
            if settings.bus.kafka or layout.bus.exists():
                status = asyncio.run(read_status(wiring))
                yield from _shards(wiring, status)
                yield _clock(status)
                yield from _lag(status)
                if status.dead_letters:
                    yield from _dead_letters(wiring)
    except AffidavitError as error:
        yield Check("stores", "failure", str(error), "see the message")
    yield from _forwarders(settings)
    yield from _engine(layout, settings)


def _forwarders(settings: Settings) -> Iterator[Check]:
    """Whether the systems that records are forwarded to would take them."""
    for name in wanted_forwarders(settings):
        probe = FORWARDERS[name].probe
        try:
            problem = probe(settings)
        except AffidavitError as error:
            problem = str(error)
        if problem:
            yield Check(f"sink {name}", "failure", problem, f"see docs/{name}.md; records wait until it is mended")
        else:
            yield Check(f"sink {name}", "ok", "it answers, and knows us")


def _permissions(layout: Layout) -> Iterator[Check]:
    wrong = []
    for path, allowed in (
        (layout.root, 0o700),
        (layout.kek.parent, 0o700),
        (layout.kek, 0o600),
        (layout.signing_key, 0o600),
        (layout.query_token, 0o600),
        (layout.control, 0o600),
        (layout.config, 0o600),
    ):
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & ~allowed:
            wrong.append(f"chmod {allowed:o} {path}")
    if wrong:
        yield Check("permissions", "failure", "others may read what is secret", "; ".join(wrong))
    else:
        yield Check("permissions", "ok", "only the owner may read the data directory")
    if layout.root.stat().st_uid != os.geteuid():
        yield Check(
            "owner", "warning", f"{layout.root} belongs to user id {layout.root.stat().st_uid}", "run as its owner"
        )


def _settings(layout: Layout) -> tuple[Settings | None, Check]:
    try:
        return load(layout), Check("settings", "ok", f"{layout.config} and the environment are understood")
    except ConfigurationError as error:
        return None, Check("settings", "failure", str(error), "correct the setting")


def _migrations(layout: Layout, settings: Settings) -> Check:
    control = ControlDatabase(control_url(layout, settings))
    try:
        version = control.version()
    except AffidavitError as error:
        return Check("migrations", "failure", str(error), "restore the control database from its backup")
    finally:
        control.close()
    if version == HEAD:
        return Check("migrations", "ok", f"control database at migration {version}")
    return Check("migrations", "failure", f"control database at {version}, expected {HEAD}", "run affidavit up or init")


def _keys(layout: Layout, settings: Settings) -> Iterator[Check]:
    try:
        yield Check("key-encryption key", "ok", FileKek(layout.kek).kek_id)
    except AffidavitError as error:
        yield Check("key-encryption key", "failure", str(error), "restore it from its backup: nothing opens without it")
    try:
        shown = show_key(signing_key(layout, settings), settings.deployment.name)
        pinned = layout.verifier_key.read_text(encoding="utf-8").split()
    except (AffidavitError, OSError) as error:
        yield Check("signing key", "failure", str(error), "restore it from its backup")
        return
    if shown.vkey not in pinned:
        yield Check("signing key", "failure", f"it is not the key of {layout.verifier_key}", "restore the right one")
    else:
        yield Check("signing key", "ok", shown.fingerprint)


def _outside(wiring: Wiring) -> Iterator[Check]:
    """What vouches for the ledger: whether anything does, whether its files can be read, when certificates end."""
    anchors = wiring.settings.anchors
    if not anchors:
        yield Check("anchors", "warning", "nobody outside vouches for this ledger", "see docs/anchors.md")
        return
    for name, own in anchors.items():
        try:
            made = make_anchor(wiring.settings, name, [wiring.signing_key.public_key])
            made.close()
            ends = certificate_ends(own.certificates) if own.certificates else None
        except AffidavitError as error:
            yield Check(f"anchor {name}", "failure", str(error), "correct the setting")
            continue
        if ends is not None and ends < datetime.now(UTC) + timedelta(days=CERTIFICATE_DAYS):
            yield Check(
                f"anchor {name}",
                "warning",
                f"the certificate of the authority ends on {ends:%Y-%m-%d}",
                "pin its next one, here and in policies",
            )
        else:
            yield Check(f"anchor {name}", "ok", f"{own.kind}, every {made.interval_seconds:.0f} s")


def _disk(layout: Layout) -> Check:
    free = shutil.disk_usage(layout.root).free
    found = f"{free / (1 << 30):.1f} GiB free"
    if free < FREE_BYTES_NONE:
        return Check("disk", "failure", found, "free space: the collector refuses what it cannot write")
    if free < FREE_BYTES_LOW:
        return Check("disk", "warning", found, "free space, or move the directory to a larger disk")
    return Check("disk", "ok", found)


def _ports(layout: Layout, settings: Settings) -> Iterator[Check]:
    for role, own in ((COLLECTOR, settings.collector), (CLICKHOUSE, settings.query)):
        other = running(layout, role)
        if other is not None:
            yield Check(f"port of the {role}", "ok", f"process {other.pid} serves {other.url}")
            continue
        family = socket.AF_INET6 if ":" in own.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((own.host, own.port))
            except OSError as error:
                section = "collector" if role == COLLECTOR else "query"
                yield Check(
                    f"port of the {role}",
                    "failure",
                    f"{own.host}:{own.port}: {error.strerror}",
                    f"stop what uses it, or set AFFIDAVIT_{section.upper()}_PORT",
                )
                continue
        yield Check(f"port of the {role}", "ok", f"{own.host}:{own.port} is free")


def _tokens(wiring: Wiring) -> Iterator[Check]:
    now_ms = time.time_ns() // 1_000_000
    tokens = [token for token in wiring.control.tokens() if token.revoked_ms is None]
    valid = [token for token in tokens if token.expires_ms is None or token.expires_ms > now_ms]
    senders = [token for token in valid if "ingest" in token.scopes]
    soon = [token for token in senders if token.expires_ms is not None and token.expires_ms < now_ms + EXPIRES_SOON_MS]
    if not senders:
        yield Check("tokens", "warning", "no token lets anybody send", "run affidavit token create")
    elif soon:
        names = ", ".join(f"{token.token_id} ({token.gateway})" for token in soon)
        yield Check("tokens", "warning", f"expire within a week: {names}", "create new ones and hand them out")
    else:
        yield Check("tokens", "ok", f"{len(senders)} tokens may send")
    try:
        text = wiring.layout.query_token.read_text(encoding="utf-8").strip()
    except OSError as error:
        yield Check("query token", "failure", f"{wiring.layout.query_token}: {error.strerror}", "run affidavit init")
        return
    own = any(token.digest == token_digest(text) and "content" in token.scopes for token in valid)
    if own:
        yield Check("query token", "ok", "the command line may read")
    else:
        yield Check(
            "query token",
            "failure",
            "the token in the directory is not valid any more",
            f"remove {wiring.layout.query_token} and run affidavit init",
        )


def _shards(wiring: Wiring, status: Status) -> Iterator[Check]:
    """Bus, settings and ledger must mean the same shards, signed with the key at hand."""
    wanted = {shard.shard for shard in status.shards}
    logs = [log for log in wiring.control.logs() if not log.closed]
    strange = sorted(str(log.shard) for log in logs if log.shard not in wanted and log.shard != ANCHOR_SHARD)
    if strange:
        yield Check(
            "shards",
            "failure",
            f"the ledger has logs of {', '.join(strange)}",
            "set deployment.shards back",
        )
        return
    public = {parse_genesis(log.genesis).vkey.rsplit("+", 1)[-1] for log in logs}
    if len(public) > 1:
        yield Check("shards", "failure", "open logs were begun with different keys", "see docs/operations.md, H3")
        return
    yield Check("shards", "ok", f"{len(wanted)} shards, {len(logs)} open logs, one key")


def _clock(status: Status) -> Check:
    last = max((shard.last_ms for shard in status.shards if shard.last_ms is not None), default=0)
    ahead = last - time.time_ns() // 1_000_000
    if ahead > SKEW_MS:
        return Check(
            "clock",
            "failure",
            f"the newest record is {ahead / 1000:.0f} s in the future",
            "set the clock by NTP",
        )
    return Check("clock", "ok", "no record is in the future")


def _lag(status: Status) -> Iterator[Check]:
    unsigned = sum(shard.unsigned for shard in status.shards)
    if unsigned > LAG_RECORDS:
        yield Check("signer", "warning", f"{unsigned:,} records are not signed", "is it running? see affidavit status")
    for sink in sorted({sink.sink for shard in status.shards for sink in shard.sinks}):
        lag = sum(one.lag for shard in status.shards for one in shard.sinks if one.sink == sink)
        if lag > LAG_RECORDS:
            yield Check(sink, "warning", f"{lag:,} records wait", "is it running? see affidavit status")


def _dead_letters(wiring: Wiring) -> Iterator[Check]:
    """Those that no retry has delivered since."""
    waiting = choose(asyncio.run(read_letters(wiring)))
    if waiting:
        yield Check(
            "dead letters",
            "warning",
            f"{len(waiting):,} records could not be delivered",
            "affidavit deadletter list shows each with its reason, affidavit deadletter retry delivers it again",
        )


def _engine(layout: Layout, settings: Settings) -> Iterator[Check]:
    if settings.clickhouse.url:
        try:
            with query_client(layout) as client:
                yield from _tables(client)
        except AffidavitError as error:
            yield Check("engine", "failure", str(error), "see the message")
        return
    if importlib.util.find_spec("chdb") is None:
        yield Check("engine", "failure", "chdb is not installed", "pip install 'affidavit[embedded]'")
        return
    if not layout.clickhouse.is_dir():
        yield Check("engine", "ok", "chdb is installed; there are no tables yet")
        return
    try:
        with query_client(layout) as client:
            yield from _tables(client)
    except AffidavitError as error:
        yield Check("engine", "failure", str(error), "see the message")


def _tables(client: QueryClient) -> Iterator[Check]:
    ask: Callable[[str], str] = lambda sql: str(client.ask(sql).rows[0][0])  # noqa: E731
    yield Check("engine", "ok", f"ClickHouse {ask('SELECT version()')}")
    if "text" in ask(
        "SELECT arrayStringConcat(skipping_indices_types, ',') FROM system.tables WHERE name = 'contents'"
    ):
        yield Check("text index", "ok", "search over content uses it")
    else:
        yield Check("text index", "warning", "contents has none: a search reads everything", "upgrade chdb")
