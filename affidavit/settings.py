"""Settings: the only reader of the environment and of ``affidavit.toml``.

A value comes from, first wins: the environment (``AFFIDAVIT_<SECTION>_<FIELD>``, such as ``AFFIDAVIT_COLLECTOR_PORT``),
the file ``<data>/affidavit.toml``, the default written here. Of several sections of a kind each has a name
(``AFFIDAVIT_<SECTION>_<NAME>_<FIELD>``), and a secret may be in a file (``url_file`` or ``…_URL_FILE`` has its path).
An unknown name is refused in either place, because a setting that is misspelt and silently ignored is the one that
mattered.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import Field, SecretStr, ValidationError, model_validator

from affidavit.layout import Layout
from affidavit.sections import (
    AnchorSettings,
    ArchiveSettings,
    BusSettings,
    ClickHouseSettings,
    CloudflareSettings,
    CollectorSettings,
    ControlSettings,
    CustodySettings,
    Deployment,
    FeedSettings,
    FetchSettings,
    FileSettings,
    GrpcSettings,
    MonitorSettings,
    ObjectsSettings,
    ProxySettings,
    QuerySettings,
    Section,
    SignerSettings,
    SpoolSettings,
    UpstreamSettings,
    WatchSettings,
    WebhookSettings,
    WitnessSettings,
)
from affidavit.sections_forwarding import OcsfSettings, SplunkSettings, SyslogSettings
from affidavit.sections_retention import RetentionSettings
from schemas.errors import ConfigurationError

PREFIX = "AFFIDAVIT_"
DATA_VARIABLE = "AFFIDAVIT_DATA"
TOKEN_VARIABLE = "AFFIDAVIT_TOKEN"  # noqa: S105  the name of a variable
PERSON_VARIABLE = "AFFIDAVIT_PERSON_TOKEN"
DEFAULT_DATA = Path("affidavit-data")


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
"""Names one of several sections of a kind: part of a URL, and of what is remembered for it."""

FILE = "_file"
"""Behind the variable of a secret: the name of a file that holds it."""


class Settings(Section):
    """The whole tree."""

    deployment: Deployment = Deployment()
    collector: CollectorSettings = CollectorSettings()
    query: QuerySettings = QuerySettings()
    monitor: MonitorSettings = MonitorSettings()
    bus: BusSettings = BusSettings()
    spool: SpoolSettings = SpoolSettings()
    control: ControlSettings = ControlSettings()
    objects: ObjectsSettings = ObjectsSettings()
    signer: SignerSettings = SignerSettings()
    custody: CustodySettings = CustodySettings()
    anchors: dict[Name, AnchorSettings] = Field(default_factory=dict)
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    archive: ArchiveSettings = ArchiveSettings()
    retention: RetentionSettings = RetentionSettings()
    splunk: SplunkSettings = SplunkSettings()
    ocsf: OcsfSettings = OcsfSettings()
    syslog: SyslogSettings = SyslogSettings()
    grpc: GrpcSettings = GrpcSettings()
    cloudflare: CloudflareSettings = CloudflareSettings()
    fetch: FetchSettings = FetchSettings()
    webhooks: dict[Name, WebhookSettings] = Field(default_factory=dict)
    files: dict[Name, FileSettings] = Field(default_factory=dict)
    feeds: dict[Name, FeedSettings] = Field(default_factory=dict)
    proxy: ProxySettings = ProxySettings()
    witness: WitnessSettings = WitnessSettings()
    watch: WatchSettings = WatchSettings()
    upstreams: dict[Name, UpstreamSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _servers_need_ports_of_their_own(self) -> Self:
        ports: dict[int, str] = {}
        for name in ("collector", "grpc", "proxy", "query", "monitor"):
            port = getattr(self, name).port
            if port and port in ports:
                raise ValueError(f"{ports[port]}.port and {name}.port are both {port}: two servers need two ports")
            ports[port] = name
        return self

    @model_validator(mode="after")
    def _many_machines_share_their_stores(self) -> Self:
        if self.bus.kafka and self.control.url is None:
            raise ValueError(
                "bus.kafka is set and control.url is not: processes over Kafka share a PostgreSQL database; set "
                "control.url, or leave bus.kafka away for one machine"
            )
        return self


def data_directory(given: Path | None, environ: Mapping[str, str] = os.environ) -> Layout:
    """The data directory: what the command line gave, else ``AFFIDAVIT_DATA``, else ``./affidavit-data``."""
    return Layout((given or Path(environ.get(DATA_VARIABLE) or DEFAULT_DATA)).absolute())


def client_token(environ: Mapping[str, str] = os.environ) -> SecretStr | None:
    """A bearer token from ``AFFIDAVIT_TOKEN``, for commands that ask a running server."""
    value = environ.get(TOKEN_VARIABLE)
    return SecretStr(value) if value else None


def person_token(environ: Mapping[str, str] = os.environ) -> SecretStr | None:
    """The token of the person at the command line, from ``AFFIDAVIT_PERSON_TOKEN``."""
    value = environ.get(PERSON_VARIABLE)
    return SecretStr(value) if value else None


def load(layout: Layout, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings of a data directory.

    Raises:
        ConfigurationError: a file that does not parse, an unknown name, a value out of range, an unsafe combination;
            the message names the file or variable, and the fix.
    """
    tree = _read_file(layout.config)
    _read_secrets(tree, layout.config)
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
        if not variable.startswith(PREFIX) or variable in (DATA_VARIABLE, TOKEN_VARIABLE, PERSON_VARIABLE):
            continue
        place = _place(variable.removeprefix(PREFIX).lower(), tree)
        if place is None:
            raise ConfigurationError(f"unknown variable {variable}{_nearest(variable, _variables())}")
        *sections, field, from_file = place
        below = tree
        for section in sections:
            below = below.setdefault(section, {})
        below[field] = _secret_in(variable, environ[variable]) if from_file else environ[variable]


def _place(words: str, tree: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Sections, field, and whether the value is the name of a file, of a variable in lower case without its prefix."""
    section, _, rest = words.partition("_")
    if section not in Settings.model_fields:
        return None
    known = fields(section)
    if not is_named(section):
        name = ""
        field = rest
    else:
        field = max((one for one in known if rest.endswith(f"_{one}")), key=len, default="")
        field = field or max((one + FILE for one in known if rest.endswith(f"_{one}{FILE}")), key=len, default="")
        name = rest.removesuffix(f"_{field}") if field else ""
        if not name:
            return None
        same = [one for one in tree.get(section, {}) if one.lower().replace("-", "_") == name]
        name = same[0] if same else name.replace("_", "-")
    from_file = field not in known and field.endswith(FILE)
    field = field.removesuffix(FILE) if from_file else field
    if field not in known or (from_file and not _is_secret(section, field)):
        return None
    return (section, name, field, from_file) if name else (section, field, from_file)


def _read_secrets(tree: dict[str, Any], path: Path) -> None:
    """Put the secrets in place of the names of the files that hold them: ``key_file`` for a secret ``key``."""
    for section, value in tree.items():
        if section not in Settings.model_fields or not isinstance(value, dict):
            continue
        own = {f".{name}": one for name, one in value.items()} if is_named(section) else {"": value}
        for name, below in own.items():
            for field in list(below) if isinstance(below, dict) else []:
                secret = field.removesuffix(FILE)
                if field not in fields(section) and secret in fields(section) and _is_secret(section, secret):
                    below[secret] = _secret_in(f"{path}: {section}{name}.{field}", str(below.pop(field)))


def _secret_in(variable: str, path: str) -> str:
    """The secret in a file, without the end of its line."""
    try:
        return Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{variable}: cannot read {path}: {why}") from None


def section_model(section: str) -> type[Section]:
    """The model of a section, or of each of the sections of a kind."""
    model = Settings.model_fields[section].annotation
    if is_named(section):
        model = get_args(model)[1]
    assert isinstance(model, type)
    assert issubclass(model, Section)
    return model


def is_named(section: str) -> bool:
    """Whether there are several sections of this kind, each with a name: ``[webhooks.NAME]``."""
    annotation = Settings.model_fields[section].annotation
    return not (isinstance(annotation, type) and issubclass(annotation, Section))


def fields(section: str) -> list[str]:
    """The fields of a section."""
    return list(section_model(section).model_fields)


def _is_secret(section: str, field: str) -> bool:
    annotation = section_model(section).model_fields[field].annotation
    return annotation is SecretStr or SecretStr in get_args(annotation)


def _variables() -> list[str]:
    names = [variable(section, field) for section in Settings.model_fields for field in fields(section)]
    return [*names, DATA_VARIABLE, TOKEN_VARIABLE, PERSON_VARIABLE]


def variable(section: str, field: str) -> str:
    """The environment variable of a field."""
    return f"{PREFIX}{section}_{'NAME_' if is_named(section) else ''}{field}".upper()


def _explain(error: ValidationError, path: Path, environ: Mapping[str, str]) -> str:
    lines = []
    for item in error.errors():
        place = [str(part) for part in item["loc"]]
        given = PREFIX + "_".join(place).upper().replace("-", "_")
        where = given if given in environ else f"{path}: {'.'.join(place)}" if place else str(path)
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = fields(place[0]) if len(place) > 1 else list(Settings.model_fields)
            text = f"unknown setting{_nearest(place[-1], known)}"
        lines.append(f"{where}: {text}")
    return "; ".join(lines)


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {close[0]}?" if close else f", expected one of {', '.join(known)}"
