"""The light body stands for the body exactly, and parses exactly where it does."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from json_bodies import body as some_body

from collector.json_units import split_json
from collector.large.lighten import AtHand, Bounds, Light, lighten
from collector.large.segments import find_segments

SMALL = Bounds(64, 300)
seeds = st.integers(0, 2**32)


def text_of(light: Light) -> bytes:
    return light.read(0, light.size)


def restored(light: Light, source: bytes) -> bytes:
    for cut in light.cuts:
        source = source.replace(cut.marker, light.body.read(cut.start, cut.stop))
    return source


def restored_value(light: Light, value: Any) -> Any:
    if isinstance(value, str):
        return restored(light, value.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    if isinstance(value, list):
        return [restored_value(light, item) for item in value]
    if isinstance(value, dict):
        return {restored_value(light, name): restored_value(light, item) for name, item in value.items()}
    return value


@given(seeds, st.sampled_from([Bounds(64, 128), SMALL, Bounds(100, 1000)]))
def test_a_light_body_is_cut_into_the_same_units(seed: int, bounds: Bounds) -> None:
    body = some_body(random.Random(seed))
    light = lighten(AtHand(body), bounds)
    assert restored(light, text_of(light)) == body
    plain, own = split_json(body), split_json(text_of(light))
    assert [(unit.source, bool(unit.error)) for unit in plain] == [
        (restored(light, unit.source), bool(unit.error)) for unit in own
    ]


@given(seeds)
def test_without_texts_to_cut_the_values_are_the_same_too(seed: int) -> None:
    body = some_body(random.Random(seed))
    light = lighten(AtHand(body), Bounds(64, 1 << 20))
    assert [unit.value for unit in split_json(body)] == [
        restored_value(light, unit.value) for unit in split_json(text_of(light))
    ]


@given(seeds, st.data())
def test_a_light_body_is_read_in_any_pieces(seed: int, draw: st.DataObject) -> None:
    light = lighten(AtHand(some_body(random.Random(seed))), SMALL)
    start = draw.draw(st.integers(0, light.size))
    stop = draw.draw(st.integers(start, light.size + 10))
    assert light.read(start, stop) == text_of(light)[start:stop]


@given(st.binary(max_size=4000))
def test_any_bytes_have_a_light_body(body: bytes) -> None:
    light = lighten(AtHand(body), SMALL)
    assert restored(light, text_of(light)) == body


@example(170, 50)
@given(seeds, st.sampled_from([50, 200, 1000]))
def test_pieces_hold_the_units_of_the_body(seed: int, size: int) -> None:
    body = AtHand(some_body(random.Random(seed)))
    segments = find_segments(body, size)
    found = [split_json(segment.read(body)) for segment in segments]
    assert [len(units) for units in found] == [segment.units for segment in segments]
    assert [(unit.source, unit.value, bool(unit.error)) for units in found for unit in units] == [
        (unit.source, unit.value, bool(unit.error)) for unit in split_json(body.data)
    ]


IMAGE = random.Random(1).randbytes(30_000)
BASE64 = base64.b64encode(IMAGE)


def test_a_cut_says_what_was_there() -> None:
    body = b'{"url": "data:image/png;base64,' + BASE64 + b'"}'
    light = lighten(AtHand(body))
    (cut,) = light.cuts
    assert body[cut.start : cut.stop] == BASE64
    assert cut.is_base64
    assert cut.sha256 == hashlib.sha256(BASE64).hexdigest()
    assert (cut.decoded_size, cut.decoded_sha256) == (len(IMAGE), hashlib.sha256(IMAGE).hexdigest())
    assert text_of(light) == b'{"url": "data:image/png;base64,' + cut.marker + b'"}'


@pytest.mark.parametrize("url_safe", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_both_alphabets_decode_with_padding_and_without(url_safe: bool, padded: bool) -> None:
    image = IMAGE[:-1]
    text = base64.urlsafe_b64encode(image) if url_safe else base64.b64encode(image)
    text = text if padded else text.rstrip(b"=")
    (cut,) = lighten(AtHand(b'["' + text + b'"]')).cuts
    assert cut.decoded_sha256 == hashlib.sha256(image).hexdigest()


def test_what_is_not_whole_base64_has_no_hash_of_what_it_says() -> None:
    for text in (BASE64 + b"A", b"AAA=" + BASE64, b"\\u0041" + BASE64):
        (cut,) = lighten(AtHand(b'["' + text + b'"]')).cuts
        assert (cut.decoded_size, cut.decoded_sha256) == (0, "")


def test_base64_within_json_within_json_is_cut_out_of_it() -> None:
    inner = json.dumps({"messages": [{"type": "image", "data": BASE64.decode()}]})
    body = json.dumps({"attributes": json.dumps({"input": inner})}).encode()
    light = lighten(AtHand(body))
    (cut,) = light.cuts
    value = json.loads(json.loads(json.loads(text_of(light))["attributes"])["input"])
    assert value == {"messages": [{"type": "image", "data": cut.marker.decode()}]}


@pytest.mark.parametrize(
    "kept",
    [
        b'["' + b"ab" * 50_000 + b'"]',
        b'["' + IMAGE.hex().encode() + b'"]',
        b"[" + b"1234567890" * 5000 + b"]",
        b"[" + BASE64 + b"]",
        b'["' + BASE64[:8000] + b'"]',
        b'"' + b"\n" + BASE64 + b'"',
        b'["' + b"word " * 200_000 + b'"]',
    ],
    ids=["two letters", "hexadecimal", "digits", "no string", "short", "broken line", "text"],
)
def test_what_stays(kept: bytes) -> None:
    light = lighten(AtHand(kept))
    assert light.cuts == []
    assert text_of(light) == kept


def test_a_text_beyond_the_bound_is_cut_out_whole() -> None:
    text = 'she said "no" — ' * 100_000
    body = json.dumps({"a": 1, "text": text, "b": BASE64.decode()}, ensure_ascii=False).encode()
    light = lighten(AtHand(body))
    first, second = light.cuts
    assert not first.is_base64
    assert json.loads(b'"' + body[first.start : first.stop] + b'"') == text
    assert json.loads(text_of(light)) == {"a": 1, "text": first.marker.decode(), "b": second.marker.decode()}


@pytest.mark.parametrize(
    "damage", [b"\xff", b"\x01", b"\\x", b"\\u12g4", b"\n"], ids=["utf8", "control", "escape", "unicode", "line"]
)
def test_a_text_that_no_string_can_hold_stays(damage: bytes) -> None:
    body = b'["' + b"many words " * 100_000 + damage + b"many words " * 100_000 + b'"]'
    assert lighten(AtHand(body)).cuts == []


def test_a_text_that_does_not_end_stays() -> None:
    assert lighten(AtHand(b'["' + b"many words " * 200_000)).cuts == []


def test_markers_are_new_each_time_and_not_to_be_guessed() -> None:
    body = AtHand(b'["' + BASE64 + b'"]')
    first, second = lighten(body), lighten(body)
    assert first.cuts[0].marker != second.cuts[0].marker
    forged = lighten(AtHand(b'["' + first.cuts[0].marker + b'", "' + BASE64 + b'"]'))
    assert forged.by_marker.get(first.cuts[0].marker) is None


def test_equal_texts_have_one_marker() -> None:
    light = lighten(AtHand(b'{"' + BASE64 + b'": 1, "' + BASE64 + b'": 2, "x": "' + BASE64[4:] + b'"}'))
    first, second, third = light.cuts
    assert first.marker == second.marker != third.marker
    assert json.loads(text_of(light)) == {first.marker.decode(): 2, "x": third.marker.decode()}
