"""The page of each gateway: what it is, what to paste into it, what comes of its records, what it withholds."""

from __future__ import annotations

import re
from pathlib import Path

import collector

URL = "http://127.0.0.1:4318"
TOKEN = "TOKEN"  # noqa: S105  the word that stands for one
"""What the pages say in place of the address of the collector and of the token."""

PROXY_URL = "http://127.0.0.1:4319"
"""What the page of the proxy says in place of its own address."""

_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SET_UP = re.compile(r"^## Set up$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def page(name: str, *, url: str = "", token: str = TOKEN) -> str:
    """The page of a gateway in the catalogue, as Markdown, with an address and a token put in.

    Args:
        url: of the collector; for the page of the proxy, of the proxy.
    """
    own = PROXY_URL if name == "proxy" else URL
    text = (Path(collector.__file__).parent / "pages" / f"{name}.md").read_text("utf-8")
    return re.sub(rf"\b{TOKEN}\b", lambda _: token, text.replace(own, (url or own).rstrip("/")))


def snippet(text: str) -> str:
    """What to paste into the gateway: the first block of code below *Set up*, or ``""``."""
    set_up = _SET_UP.search(text)
    block = _FENCE.search(set_up.group(1)) if set_up else None
    return block.group(1) if block else ""
