"""Encrypted fields of Cloudflare's Logpush: ``{"type"?, "key", "iv", "data"}``, each in base64.

``key`` is an AES-256 key, wrapped by RSA-OAEP with SHA-256 for the public key in the settings of the gateway; ``data``
is AES-GCM with its tag at the end. The ciphertext as received is the evidence; what opens it is a view.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, NamedTuple

from collector.gateways.bodies import Body, absent, read_body
from collector.gateways.gaps import Gap

_TAG = 16


class Encrypted(NamedTuple):
    """One field: the wrapped key, the nonce, and the ciphertext with its tag."""

    key: bytes
    iv: bytes
    data: bytes


Decrypt = Callable[[Encrypted], bytes | None]
"""Opens a field; ``None`` when no key at hand does. Pure as far as the format goes: the same field, the same answer."""


class Opened(NamedTuple):
    """A field in the clear, or the reason why it is not. ``state`` is ``full``, ``encrypted`` or ``omitted``."""

    value: Any
    state: str
    note: str = ""
    size: int | None = None


def encrypted(value: object) -> Encrypted | None:
    """The parts of an encrypted field; ``None`` for anything else."""
    if not isinstance(value, dict):
        return None
    parts = [value.get(name) for name in Encrypted._fields]
    if not all(isinstance(part, str) and part for part in parts):
        return None
    try:
        return Encrypted(*(base64.b64decode(str(part), validate=True) for part in parts))
    except (binascii.Error, ValueError):
        return None


def open_field(value: object, decrypt: Decrypt | None) -> Opened:
    """A field of a line, opened if it has to be and can."""
    if value in (None, "", {}, []):
        return Opened(None, "omitted")
    sealed = encrypted(value)
    if sealed is None:
        return Opened(value, "full")
    size = max(0, len(sealed.data) - _TAG)
    if decrypt is None:
        return Opened(None, "encrypted", "no private key is configured", size)
    clear = decrypt(sealed)
    if clear is None:
        return Opened(None, "encrypted", "no configured private key opens it", size)
    try:
        return Opened(clear.decode("utf-8"), "full")
    except UnicodeDecodeError:
        text = clear.decode("utf-8", "surrogateescape")
        return Opened(text, "full", "not UTF-8")


def open_body(value: object, decrypt: Decrypt | None, withheld: str) -> Body:
    """A body of a line. ``withheld`` says why there may be none."""
    opened = open_field(value, decrypt)
    if opened.state == "omitted":
        return absent(withheld)
    if opened.state == "encrypted":
        return Body(gaps=[field_gap("/content", opened)])
    return read_body(opened.value)


def field_gap(pointer: str, opened: Opened) -> Gap:
    """What is said of a field that stayed closed."""
    return Gap(pointer, "encrypted", original_size=opened.size, note=f"{opened.note}; the ciphertext is in the source")
