"""Content-Encoding undone: whatever was packed comes back, whatever else is refused within the limit."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from collector.inflate import codings, inflate, inflate_chunks
from schemas.errors import InputError, LimitExceeded, MalformedInput


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@given(st.binary(max_size=2000), st.lists(st.sampled_from(sorted(PACKERS)), max_size=2))
def test_what_was_packed_comes_back(data: bytes, applied: list[str]) -> None:
    packed = data
    for coding in applied:
        packed = PACKERS[coding](packed)
    assert inflate(packed, applied, limit=1 << 20) == data


@given(st.binary(max_size=2000))
def test_deflate_without_its_wrapper_comes_back(data: bytes) -> None:
    assert inflate(raw_deflate(data), ["deflate"], limit=1 << 20) == data


def test_members_and_frames_in_a_row_count_as_one_body() -> None:
    assert inflate(gzip.compress(b"a") + gzip.compress(b"b"), ["gzip"], limit=10) == b"ab"
    zstd = PACKERS["zstd"]
    assert inflate(zstd(b"a" * 2000) + zstd(b"b"), ["zstd"], limit=4000) == b"a" * 2000 + b"b"


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "zstd"]))
def test_any_bytes_inflate_or_are_refused(body: bytes, coding: str) -> None:
    with suppress(InputError):
        assert len(inflate(body, [coding], limit=10_000)) <= 10_000


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_every_cut_is_noticed(coding: str) -> None:
    packed = PACKERS[coding](bytes(range(256)) * 8)
    for end in range(len(packed)):
        with pytest.raises(MalformedInput, match=rf"got a {coding} body that (is cut short|does not inflate)"):
            inflate(packed[:end], [coding], limit=1 << 20)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_what_follows_the_end_is_refused(coding: str) -> None:
    with pytest.raises(MalformedInput, match=r"does not inflate|after the end"):
        inflate(PACKERS[coding](b"a") + b"trailing", [coding], limit=1 << 20)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_the_limit_is_exact(coding: str) -> None:
    packed = PACKERS[coding](b"a" * 1000)
    assert inflate(packed, [coding], limit=1000) == b"a" * 1000
    with pytest.raises(LimitExceeded, match="more than 999 bytes after decompression"):
        inflate(packed, [coding], limit=999)


def test_the_header_is_read_in_the_order_of_application() -> None:
    assert codings("") == codings("identity") == []
    assert codings(" GZip , zstd") == ["gzip", "zstd"]
    with pytest.raises(MalformedInput, match="got content-encoding 'br', expected one of gzip"):
        codings("gzip, br")
    with pytest.raises(MalformedInput, match="got 3 content-encodings, expected at most 2"):
        codings("gzip, gzip, gzip")


@given(st.binary(max_size=3000), st.lists(st.sampled_from(sorted(PACKERS)), max_size=2), st.integers(1, 700))
def test_a_body_in_pieces_inflates_as_a_whole_one(data: bytes, applied: list[str], step: int) -> None:
    packed = data
    for coding in applied:
        packed = PACKERS[coding](packed)
    pieces = [packed[at : at + step] for at in range(0, len(packed), step)]
    assert b"".join(inflate_chunks(pieces, applied, 1 << 20)) == inflate(packed, applied, 1 << 20)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_bomb_is_noticed_at_the_limit(coding: str) -> None:
    bomb = PACKERS[coding](bytes(64 << 20))
    came: list[int] = []
    with pytest.raises(LimitExceeded, match="more than 1048576 bytes"):
        came.extend(map(len, inflate_chunks([bomb], [coding], 1 << 20)))
    assert sum(came) <= 1 << 20
