"""Taking secrets out of extras: what a gateway copied from HTTP headers does not belong in a searchable view.

The source part keeps the exact bytes, under its own key; only the derived view is cut. A value counts as a secret by
the name of its field, by a ``{"name": …, "value": …}`` pair, by its shape (``Bearer …``, ``sk-…``), or as a parameter
of a URL that opens something (``?key=…``, ``&X-Amz-Signature=…``).
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from collector.gateways.gaps import Gap, pointer
from collector.json_units import encode_content

MARKER = "[redacted by affidavit]"

SECRET_NAMES = frozenset(
    {
        *("authorization", "proxy-authorization", "x-forwarded-authorization", "cookie", "set-cookie"),
        *("x-api-key", "api-key", "apikey", "x-goog-api-key", "x-litellm-api-key", "x-portkey-api-key"),
        *("x-auth-token", "x-vault-token", "x-csrf-token", "x-amz-security-token", "ocp-apim-subscription-key"),
        "x-amz-firehose-access-key",
        *("password", "passwd", "secret", "client-secret", "private-key", "secret-access-key", "aws-secret-access-key"),
        *("access-token", "refresh-token", "id-token", "session-token", "aws-session-token"),
        *("x-portkey-virtual-key", "cf-aig-authorization", "helicone-auth", "cf-access-client-secret"),
    }
)
"""Field names whose value is a secret, in lower case, ``_`` read as ``-``."""

_NAME_MARKS = ("key", "token", "secret", "auth", "cookie", "passw")
"""One of these is in each of the names."""

_NAME_HINTS = sorted(name for name in SECRET_NAMES if not any(other in name for other in SECRET_NAMES - {name}))
"""One of these is in each of the names, and in little else."""

_SHAPE = re.compile(
    r"""(?ix) \b(?: bearer | basic )\s+[a-z0-9._~+/=-]{8,}
    | \bsk-[a-z0-9_-]{16,} | \baff_[a-z0-9]{4,}_[a-z0-9_-]{16,} | \bAKIA[0-9A-Z]{16}\b
    | \bgh[pousr]_[a-z0-9]{20,} | \beyJ[a-z0-9_-]{10,}\.[a-z0-9_-]{10,}\.[a-z0-9_-]* """
)


_PARAMETERS = frozenset(
    {
        *("key", "api_key", "api-key", "apikey", "token", "access_token", "sig", "signature", "secret", "password"),
        *("x-amz-signature", "x-amz-credential", "x-amz-security-token", "x-goog-signature", "x-goog-credential"),
        "client_secret",
    }
)
"""Names of URL parameters whose value opens something, in lower case."""

_PARAMETER = re.compile(
    "([?&](?:" + "|".join(sorted(map(re.escape, _PARAMETERS))) + r""")=)(?!\[redacted)[^&#\s"'<>\\]+""", re.IGNORECASE
)

_MARKS = ("bearer", "basic", "sk-", "aff_", "akia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "eyj")
"""One of these is in whatever :data:`_SHAPE` finds, case folded as the expression ignores case."""

_SHORTEST = 14
"""Characters of the shortest thing that :data:`_SHAPE` finds: ``basic``, a space, eight more."""


@lru_cache(4096)
def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret; a dotted path counts by its last step."""
    return name.rsplit(".", 1)[-1].lower().replace("_", "-") in SECRET_NAMES


def is_secret_parameter(name: str) -> bool:
    """Whether the URL parameter of this name opens something."""
    return name.lower() in _PARAMETERS


def scrub_url(text: str) -> str:
    """A URL, or text with URLs in it, without the values of parameters that open something."""
    return _PARAMETER.sub(rf"\g<1>{MARKER}", text) if "=" in text else text


def scrub_extras(extras: dict[str, str]) -> tuple[dict[str, str], list[Gap]]:
    """Replace secrets in extras (name → JSON text) by :data:`MARKER`; return them with the places that were cut.

    Text without anything that looks like a secret comes back as it was, byte for byte.
    """
    clean: dict[str, str] = {}
    gaps: list[Gap] = []
    for name, text in extras.items():
        named = is_secret_name(name)
        if not named and not _may_hold_secret(text):
            clean[name] = text
            continue
        cut: list[str] = []
        value = _scrub(_parse(text), pointer("extras", name), cut, named)
        clean[name] = encode_content(value).decode() if cut else text
        gaps += [Gap(place, "redacted", note="secret") for place in cut]
    return clean, gaps


def _may_hold_secret(text: str) -> bool:
    """Whether it is worth to parse the text. Most extras are short and plain, so the cheap questions come first: a
    name needs an object or a pair around it, and every name and shape has a mark that substring search finds, which
    takes a hundredth of the time of the expressions."""
    if len(text) < _SHORTEST and "{" not in text and "[" not in text and "=" not in text:
        return False
    folded = text.casefold()
    if ("{" in text or "[" in text) and _may_name_secret(folded):
        return True
    if "=" in text and ("?" in text or "&" in text) and _PARAMETER.search(text):
        return True
    if len(text) < _SHORTEST:
        return False
    return any(mark in folded for mark in _MARKS) and _SHAPE.search(text) is not None


def _may_name_secret(folded: str) -> bool:
    """Whether one of the names is in this text, which had its case folded."""
    if not any(mark in folded for mark in _NAME_MARKS):
        return False
    dashed = folded.replace("_", "-")
    return any(name in dashed for name in _NAME_HINTS)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _scrub(value: Any, at: str, cut: list[str], secret: bool) -> Any:
    if isinstance(value, dict):
        pair = is_secret_name(str(value.get("name", value.get("key", ""))))
        return {
            key: _scrub(item, at + pointer(key), cut, secret or is_secret_name(key) or (pair and key == "value"))
            for key, item in value.items()
        }
    if isinstance(value, list):
        pair = len(value) == 2 and isinstance(value[0], str) and is_secret_name(value[0])
        return [
            _scrub(item, at + pointer(index), cut, secret or (pair and index == 1)) for index, item in enumerate(value)
        ]
    if secret and value not in (None, "", True, False):
        cut.append(at)
        return MARKER
    return _scrub_text(value, at, cut) if isinstance(value, str) else value


def _scrub_text(text: str, at: str, cut: list[str]) -> str:
    """Text may itself be JSON, or hold a token in its midst."""
    if text[:1] in ("{", "[") and _may_name_secret(text.casefold()):
        inner: list[str] = []
        parsed = _parse(text)
        value = _scrub(parsed, at, inner, False) if isinstance(parsed, dict | list) else text
        if inner:
            cut += inner
            return encode_content(value).decode()
    scrubbed = scrub_url(_SHAPE.sub(MARKER, text))
    if scrubbed != text:
        cut.append(at)
    return scrubbed
