"""What formats that read bodies whole put into content is told in the same words, with its place in the source."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from typing import Any

from collector.assemble import Stamp, assemble
from collector.gateways import Draft, Reading, Received, Unit
from collector.large.elide import leave_out
from schemas.metadata import Metadata

DATA = random.Random(1).randbytes(30_000)
BASE64 = base64.b64encode(DATA).decode()
RECEIVED = Received("acme", "x", "t-1", "http", "", "application/x-protobuf", "", 1_787_305_200_125_000, "x")


def elided(content: object, source: bytes) -> tuple[Any, list[dict[str, Any]]]:
    """The content, and its gaps."""
    unit = Unit(source, "one", [Draft("response", {}, content)])
    ((event,),) = assemble(Reading([unit]), RECEIVED, Stamp("c-1", 0))
    return json.loads(event.content), json.loads(event.metadata.get("content_gaps") or "[]")


def test_base64_in_content_is_told_with_its_place_in_the_source() -> None:
    source = b"\x0a\x04some\x12\xc0\xb8\x02" + BASE64.encode() + b"\x18\x01"
    content, (gap,) = elided({"parts": [{"mime_type": "image/png", "content": BASE64}]}, source)
    start, size = map(int, gap["ref"].removeprefix("source:").split("+"))
    assert source[start : start + size] == BASE64.encode()
    assert gap["pointer"] == "/content/parts/0/content"
    assert gap["original_sha256"] == hashlib.sha256(BASE64.encode()).hexdigest()
    assert gap["note"] == f"image/png base64 of 30000 bytes with SHA-256 {hashlib.sha256(DATA).hexdigest()}"
    words = f"[40000 bytes of base64 with SHA-256 {gap['original_sha256']}: see the source]"
    assert content == {"parts": [{"mime_type": "image/png", "content": words}]}


def test_what_is_not_in_the_source_as_it_stands_is_in_the_source_somewhere() -> None:
    _, (gap,) = elided([BASE64], b"packed otherwise")
    assert gap["ref"] == "source"


def test_ordinary_content_is_left_as_it_is() -> None:
    content = json.dumps({"text": "word " * 10_000, "n": 2**80}).encode()
    metadata: Metadata = {}
    assert leave_out(content, metadata, b"") is content
    assert metadata == {}


def test_numbers_and_escapes_beside_it_stay_what_they_are() -> None:
    value = {"n": 2**70, "lone": "\ud800", "image": BASE64, "f": 0.1}
    content, _ = elided(value, b"")
    assert {**content, "image": BASE64} == value


def test_content_that_was_nested_too_deeply_to_be_parsed_is_kept() -> None:
    content = b"[" * 3000 + json.dumps(BASE64).encode() + b"]" * 3000
    assert leave_out(content, {}, b"") == content
