"""Which upstream a request is for, and by which token, from its path. Pure.

``/NAME/…`` goes to the upstream of that name; ``/t/TOKEN/NAME/…`` is the same for clients that take a base URL and no
header. The rest of the path and the query go on byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from collector.proxy import Upstream
from schemas.errors import ConfigurationError


class Destination(NamedTuple):
    """An upstream, made ready.

    Attributes:
        upstream: as configured.
        origin: scheme, host and port, to connect to.
        host: for the ``host`` header.
        prefix: the path of its base URL, without a slash at the end.
    """

    upstream: Upstream
    origin: str
    host: bytes
    prefix: bytes


class Routed(NamedTuple):
    """``target``: the request target at the upstream. ``token``: from the path, ``""`` where there is none."""

    destination: Destination
    target: bytes
    token: str


def destinations(upstreams: Mapping[str, Upstream]) -> dict[bytes, Destination]:
    """The upstreams by the first segment of their paths.

    Raises:
        ConfigurationError: a name or base URL that cannot be one.
    """
    found = {}
    for name, upstream in upstreams.items():
        if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii() or name == "t":
            raise ConfigurationError(f"got upstream name {name!r}, expected letters, digits and dashes, and not t")
        try:
            parts = urlsplit(upstream.base_url)
            port, host = parts.port, parts.hostname
        except ValueError:
            port, host, parts = None, None, urlsplit("")
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or parts.username:
            raise ConfigurationError(
                f"got base URL {upstream.base_url!r} of {name}, expected https://host[:port][/path]"
            )
        bracketed = f"[{host}]" if ":" in host else host
        authority = bracketed if port is None else f"{bracketed}:{port}"
        prefix = parts.path.rstrip("/").encode()
        found[name.encode()] = Destination(upstream, f"{parts.scheme}://{authority}", authority.encode(), prefix)
    return found


def route(known: Mapping[bytes, Destination], path: bytes, query: bytes) -> Routed | None:
    """Where a request goes; ``None`` when no upstream is named so. ``path`` as received, percent-encoding and all."""
    token, rest = b"", path
    if rest.startswith(b"/t/"):
        token, slash, rest = rest[3:].partition(b"/")
        rest = slash + rest
    name, slash, rest = rest[1:].partition(b"/")
    destination = known.get(name)
    if destination is None:
        return None
    target = destination.prefix + (slash + rest or b"/")
    return Routed(destination, target + (b"?" + query if query else b""), token.decode("latin-1"))
