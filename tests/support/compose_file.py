"""``deploy/compose.yaml`` as Compose would see it: anchors merged, variables filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COMPOSE = DEPLOY / "compose.yaml"

FILLED = {
    "DEPLOYMENT_NAME": "audit.example.com",
    "ARCHIVE_RETAIN_DAYS": "1",
    "POSTGRES_PASSWORD": "postgres0password",
    "CLICKHOUSE_PASSWORD": "clickhouse0password",
    "S3_ACCESS_KEY": "s30access",
    "S3_SECRET_KEY": "s30secret",
    "MONITOR_TOKEN": "monitor0token",
    "GRAFANA_PASSWORD": "grafana0password",
}
"""What an operator must put into ``.env``."""

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


class Unset(KeyError):
    """A variable without which Compose refuses to start."""


def compose(environ: Mapping[str, str] = FILLED) -> dict[str, Any]:
    """The file, its variables replaced.

    Raises:
        Unset: one that must be set is not.
    """
    found = _fill(yaml.safe_load(COMPOSE.read_text()), environ)
    assert isinstance(found, dict)
    return found


def variables() -> dict[str, tuple[str, str]]:
    """Every variable of the file, with its operator (``-``, ``?`` or none) and what follows it."""
    return {name: (how, rest) for name, how, rest in _VARIABLE.findall(COMPOSE.read_text())}


def ours(document: Mapping[str, Any]) -> dict[str, Any]:
    """The services that run the image made here."""
    return {name: one for name, one in document["services"].items() if one["image"].startswith("affidavit:")}


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a service as text."""
    return {name: str(value) for name, value in service.get("environment", {}).items()}


def _fill(value: Any, environ: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {key: _fill(one, environ) for key, one in value.items()}
        case list():
            return [_fill(one, environ) for one in value]
        case str():
            return _VARIABLE.sub(lambda found: _value(found, environ), value)
        case _:
            return value


def _value(found: re.Match[str], environ: Mapping[str, str]) -> str:
    name, how, rest = found.groups()
    value = environ.get(name, "")
    if not value and how == "?":
        raise Unset(f"{name}: {rest}")
    return value or (rest if how == "-" else "")
