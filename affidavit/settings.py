"""Settings: the only reader of the environment and of ``affidavit.toml``.

A value comes from, first wins: the environment (``AFFIDAVIT_<SECTION>_<FIELD>``, such as ``AFFIDAVIT_COLLECTOR_PORT``),
the file ``<data>/affidavit.toml``, the default written here. An unknown name is refused in either place, because a
setting that is misspelt and silently ignored is the one that mattered.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from affidavit.layout import Layout
from schemas.errors import ConfigurationError

PREFIX = "AFFIDAVIT_"
DATA_VARIABLE = "AFFIDAVIT_DATA"
TOKEN_VARIABLE = "AFFIDAVIT_TOKEN"  # noqa: S105  the name of a variable
DEFAULT_DATA = Path("affidavit-data")
MIB = 1 << 20


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Section(BaseModel):
    """What all sections share: frozen, and no field that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Deployment(Section):
    """What the deployment is. Fixed by ``affidavit init``: the ledger's origins hold the name."""

    name: str = "affidavit.localhost"
    """Origin of every log, as a URL without its scheme, e.g. ``audit.example.com``. Cannot change later."""
    shards: int = Field(default=1, ge=1, le=256)
    """Shards of the events topic. A conversation stays on one shard. Cannot change later."""

    @field_validator("name")
    @classmethod
    def _is_an_origin(cls, name: str) -> str:
        segments = name.split("/")
        plain = all(part and part.strip(".") and all(c.isalnum() or c in "._-" for c in part) for part in segments)
        if not name.isascii() or not plain:
            raise ValueError(f"got {name!r}, expected letters, digits, '.', '_', '-', '/', e.g. audit.example.com")
        return name


class Listener(Section):
    """Where a server listens."""

    host: str = "127.0.0.1"
    """Address to bind."""
    port: int = Field(default=0, ge=0, le=65535)
    """TCP port; 0 takes a free one."""
    behind_tls_proxy: bool = False
    """Say yes where a proxy terminates TLS: without it, only a loopback address is accepted, because bearer tokens and
    content would cross the network in the clear."""

    @model_validator(mode="after")
    def _no_plaintext_on_a_network(self) -> Self:
        if not self.behind_tls_proxy and not _is_loopback(self.host):
            raise ValueError(
                f"host {self.host} is not a loopback address, and this server speaks plain HTTP: put a TLS proxy in "
                "front and set behind_tls_proxy = true, or listen on 127.0.0.1"
            )
        return self


class CollectorSettings(Listener):
    """The HTTP server that gateways send to: native API, LiteLLM, OTLP."""

    port: int = Field(default=4318, ge=0, le=65535)
    """TCP port; 4318 is the port of OTLP over HTTP. 0 takes a free one."""
    max_body_bytes: int = Field(default=64 * MIB, ge=1024)
    """Largest body accepted, before and after decompression."""
    max_pending_bytes: int = Field(default=256 * MIB, ge=1024)
    """Bodies in flight together; above it the answer is 503 with Retry-After, and nothing is lost."""


class QuerySettings(Listener):
    """The read-only ClickHouse HTTP interface of the embedded engine."""

    port: int = Field(default=8123, ge=0, le=65535)
    """TCP port; 8123 is ClickHouse's. 0 takes a free one."""
    max_seconds: float = Field(default=60.0, gt=0)
    """Longest run time of a query."""
    max_result_bytes: int = Field(default=1024 * MIB, ge=1024)
    """Largest result of a query."""


class SignerSettings(Section):
    """The signer and its anchor log."""

    linger_seconds: float = Field(default=0.25, gt=0, le=60)
    """Longest wait before a checkpoint covers what was received."""
    anchor_seconds: float = Field(default=10.0, gt=0, le=3600)
    """Time between two checkpoint sets in the anchor log. Silence longer than three of them is reported."""


class ClickHouseSettings(Section):
    """The ClickHouse sink."""

    linger_seconds: float = Field(default=0.5, gt=0, le=60)
    """Longest wait before received records are inserted. More wait makes fewer, larger inserts, which take less from
    the collector beside them; a whole second puts the time to queryable at the edge of its budget of two."""


class ArchiveSettings(Section):
    """The archive sink."""

    segment_bytes: int = Field(default=64 * MIB, ge=4096)
    """An object is closed at this size."""
    segment_seconds: float = Field(default=300.0, gt=0, le=3600)
    """An object is closed at this age."""
    retain_days: int = Field(default=180, ge=0, le=36500)
    """Objects are write-once for this long; set it to the longest regulatory minimum, no more (docs/operations.md)."""


class Settings(Section):
    """The whole tree."""

    deployment: Deployment = Deployment()
    collector: CollectorSettings = CollectorSettings()
    query: QuerySettings = QuerySettings()
    signer: SignerSettings = SignerSettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    archive: ArchiveSettings = ArchiveSettings()

    @model_validator(mode="after")
    def _two_servers_need_two_ports(self) -> Self:
        if self.collector.port == self.query.port != 0:
            raise ValueError(f"collector.port and query.port are both {self.query.port}: two servers need two ports")
        return self


def data_directory(given: Path | None, environ: Mapping[str, str] = os.environ) -> Layout:
    """The data directory: what the command line gave, else ``AFFIDAVIT_DATA``, else ``./affidavit-data``."""
    return Layout((given or Path(environ.get(DATA_VARIABLE) or DEFAULT_DATA)).absolute())


def client_token(environ: Mapping[str, str] = os.environ) -> SecretStr | None:
    """A bearer token from ``AFFIDAVIT_TOKEN``, for commands that ask a running server."""
    value = environ.get(TOKEN_VARIABLE)
    return SecretStr(value) if value else None


def load(layout: Layout, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings of a data directory.

    Raises:
        ConfigurationError: a file that does not parse, an unknown name, a value out of range, an unsafe combination;
            the message names the file or variable, and the fix.
    """
    tree = _read_file(layout.config)
    _overlay(tree, environ)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, layout.config, environ)) from None


def make_deployment(name: str, shards: int) -> Deployment:
    """A deployment as ``init`` was asked to make it.

    Raises:
        ConfigurationError: no ledger can have this name, or this many shards.
    """
    try:
        return Deployment(name=name, shards=shards)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from None


def initial_config(deployment: Deployment) -> str:
    """The text of a new ``affidavit.toml``: what is fixed, and where to read of the rest."""
    return (
        "# Settings of this deployment. docs/cli.md lists every one; each can also be given as\n"
        "# AFFIDAVIT_<SECTION>_<FIELD> in the environment, which wins over this file.\n"
        "\n"
        "[deployment]  # fixed: the ledger's origins hold these\n"
        f'name = "{deployment.name}"\n'
        f"shards = {deployment.shards}\n"
        "\n"
        "[collector]\n"
        '# host = "127.0.0.1"\n'
        "# port = 4318\n"
        "\n"
        "[query]\n"
        '# host = "127.0.0.1"\n'
        "# port = 8123\n"
    )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o022:
                raise ConfigurationError(f"{path} can be changed by other users: run chmod 600 {path}")
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None


def _overlay(tree: dict[str, Any], environ: Mapping[str, str]) -> None:
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in (DATA_VARIABLE, TOKEN_VARIABLE):
            continue
        section, _, field = variable.removeprefix(PREFIX).lower().partition("_")
        if section not in Settings.model_fields or field not in _fields(section):
            raise ConfigurationError(f"unknown variable {variable}{_nearest(variable, _variables())}")
        tree.setdefault(section, {})[field] = environ[variable]


def _fields(section: str) -> list[str]:
    model = Settings.model_fields[section].annotation
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _variables() -> list[str]:
    names = [f"{PREFIX}{section}_{field}".upper() for section in Settings.model_fields for field in _fields(section)]
    return [*names, DATA_VARIABLE, TOKEN_VARIABLE]


def _explain(error: ValidationError, path: Path, environ: Mapping[str, str]) -> str:
    lines = []
    for item in error.errors():
        place = [str(part) for part in item["loc"]]
        variable = PREFIX + "_".join(place).upper()
        where = variable if variable in environ else f"{path}: {'.'.join(place)}" if place else str(path)
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = _fields(place[0]) if len(place) > 1 else list(Settings.model_fields)
            text = f"unknown setting{_nearest(place[-1], known)}"
        lines.append(f"{where}: {text}")
    return "; ".join(lines)


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {close[0]}?" if close else f", expected one of {', '.join(known)}"
