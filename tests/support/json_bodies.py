"""Bodies of JSON in all states: long base64 and text at every depth, JSON inside of JSON, damage."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

TEXTS = ('he said "x" \\ \n é \ud83d ', "abc\\u0041 ", '\\"', "ab", "\\\\", "name: value, {[")
DAMAGE = (b'"', b"\\", b"\n", b"\xff", b"{", b"\x00", b"", b"null", b'\\"', b"[")


def body(rnd: random.Random, *, damaged: float = 0.2) -> bytes:
    """A body of up to a dozen values, with strings of some hundred bytes; each is damaged with that probability."""
    values = [_damaged(_value(rnd), rnd) if rnd.random() < damaged else _value(rnd) for _ in range(rnd.randint(1, 12))]
    if rnd.random() < 0.3:
        return b"[" + b",".join(values) + b"]"
    before, after = rnd.choice([b"", b"\xef\xbb\xbf", b" \n"]), rnd.choice([b"", b"\n", b"\n[1,2]\n"])
    return before + rnd.choice([b"\n", b"\n", b" ", b","]).join(values) + after


def _value(rnd: random.Random) -> bytes:
    data = base64.b64encode(rnd.randbytes(rnd.randint(60, 300))).decode()
    text = rnd.choice(TEXTS) * rnd.randint(1, 90)
    inner = json.dumps({"q": data, "w": text})
    shapes: list[Any] = [
        data,
        text,
        {"a": data, "t": text, "n": [1, 2, {"z": data}]},
        [text, data],
        inner,
        json.dumps(inner),
        {data: 1, text: 2},
        {data: data, "b": {data: text}},
        12345678901234567890,
        ["data:image/png;base64," + data],
    ]
    shown = json.dumps(rnd.choice(shapes), ensure_ascii=rnd.random() < 0.5, indent=rnd.choice([None, None, 1]))
    return shown.encode("utf-8", "surrogatepass")


def _damaged(value: bytes, rnd: random.Random) -> bytes:
    at = rnd.randint(0, len(value))
    return value[:at] + rnd.choice(DAMAGE) + value[at + rnd.randint(0, 3) :]
