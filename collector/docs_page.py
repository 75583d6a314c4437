"""``/docs``: the OpenAPI document as one HTML page, without script, style sheet or font from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import orjson

from collector.openapi import FAILURES

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #777; --code: #8881; --accent: #0b7285; }
@media (prefers-color-scheme: dark) { :root { --accent: #66d9e8; --dim: #999; } }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .4rem; }
code, pre { font: .9em/1.5 ui-monospace, monospace; background: var(--code); border-radius: 4px; }
code { padding: .1em .3em; overflow-wrap: anywhere; } pre { padding: .8rem 1rem; overflow-x: auto; }
.method { color: var(--accent); font-weight: 700; margin-right: .5rem; } .dim { color: var(--dim); }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; } th { text-align: left; }
td, th { border-top: 1px solid var(--line); padding: .35rem .6rem .35rem 0; vertical-align: top; }
td:first-child { width: 1%; white-space: nowrap; } a { color: var(--accent); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
@media (max-width: 45rem) { td { display: block; width: auto !important; } td + td { border-top: 0; padding-top: 0; } }
"""


def render_docs(document: dict[str, Any]) -> str:
    """The page for an OpenAPI document made by :func:`collector.openapi.describe`."""
    info = document["info"]
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    links = "".join(f'<a href="#{escape(op["operationId"])}">{escape(path)}</a>' for _, path, op in operations)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(info['title'])}</h1><p>{_prose(info['description'])}</p>"
        f'<nav>{links}<a href="#failures">Failures</a><a href="#event">Event fields</a>'
        '<a href="openapi.json">openapi.json</a></nav>'
        "<h2>Tokens</h2><p>Every request that sends carries <code>Authorization: Bearer aff_…</code>. A token is bound "
        "to a tenant and a gateway: <code>affidavit token create --tenant acme --gateway my-gateway</code>.</p>"
        + "".join(_operation(*operation) for operation in operations)
        + f'<h2 id="failures">When it fails</h2>{_table(_statuses(FAILURES))}'
        + _event_fields(document["components"]["schemas"]["Event"])
        + "</body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    title = (
        f'<h2 id="{escape(operation["operationId"])}"><span class="method">{escape(method.upper())}</span>'
        f"<code>{escape(path)}</code> <span class='dim'>{escape(operation.get('summary', ''))}</span></h2>"
    )
    body = operation.get("requestBody", {}).get("content", {})
    types = ", ".join(f"<code>{escape(name)}</code>" for name in body)
    sent = f"<p>Body: {types}</p>" if types else ""
    example = next((content["example"] for content in body.values() if "example" in content), None)
    shown = f"<pre>{escape(_pretty(example))}</pre>" if example is not None else ""
    described = {code: one["description"] for code, one in operation["responses"].items()}
    own = {code: text for code, text in described.items() if text != FAILURES.get(code)}
    table = _table(_statuses(own))
    return f"{title}<p>{_prose(operation.get('description', ''))}</p>{sent}{shown}{table}"


def _statuses(described: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    return ((f"<b>{escape(code)}</b>", _prose(text)) for code, text in described.items())


def _event_fields(event: dict[str, Any]) -> str:
    required = set(event.get("required", ()))
    rows = (
        (
            f"<code>{escape(name)}</code>" + (" <b>required</b>" if name in required else ""),
            f"<span class='dim'>{escape(_type(field))}</span> {_prose(field.get('description', ''))}",
        )
        for name, field in sorted(event["properties"].items(), key=lambda item: item[0] not in required)
    )
    return f'<h2 id="event">Event fields</h2>{_table(rows)}'


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if "enum" in field:
        return " | ".join(str(value) for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return str(field.get("type", "any JSON"))


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><td>{left}</td><td>{right}</td></tr>" for left, right in rows) + "</table>"


def _prose(text: str) -> str:
    """Escaped text, with `backticks` as code."""
    return "".join(
        f"<code>{escape(piece)}</code>" if index % 2 else escape(piece) for index, piece in enumerate(text.split("`"))
    )


def _pretty(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
