"""Parts that are sealed and opened in pieces: the same bytes as those that are sealed and opened whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvariantError, VerificationError
from schemas.ids import EventId, KeyId
from schemas.part_streams import check_stream, open_stream, seal_stream
from schemas.parts import SOURCE, Opener, SealedPart, Sealer, SubjectKey, commit, part_key

EVENT = EventId(b"e" * 16)
KEY = SubjectKey(KeyId(b"k" * 16), b"s" * 32)
PART_KEY = part_key(KEY.secret, EVENT, SOURCE)


class InPieces:
    """Implements :class:`schemas.part_streams.Sized`."""

    def __init__(self, data: bytes, step: int, size: int | None = None) -> None:
        self._data, self._step = data, step
        self.size = len(data) if size is None else size

    def chunks(self) -> Iterator[bytes]:
        return (self._data[at : at + self._step] for at in range(0, len(self._data), self._step))


def sealed(data: bytes, step: int = 1000) -> tuple[SealedPart, bytes, bytes]:
    """The part, its commitment and its ciphertext."""
    written: list[bytes] = []
    part, commitment = seal_stream(SOURCE, InPieces(data, step), EVENT, KEY, written.append)
    return part, commitment, b"".join(written)


data_of_any_size = st.one_of(st.binary(max_size=300), st.binary(min_size=1, max_size=50).map(lambda some: some * 3000))


@given(data_of_any_size, st.integers(1, 5000))
def test_what_is_sealed_in_pieces_opens_whole(data: bytes, step: int) -> None:
    part, commitment, ciphertext = sealed(data, step)
    opened = Opener().open(part._replace(ciphertext=ciphertext), commitment, EVENT, PART_KEY)
    assert opened.data == data
    assert commit(opened.salt, SOURCE, data) == commitment


@given(data_of_any_size, st.integers(1, 5000))
def test_what_is_sealed_whole_opens_in_pieces(data: bytes, step: int) -> None:
    part, commitment = Sealer().seal(SOURCE, data, EVENT, KEY)
    pieces = (part.ciphertext[at : at + step] for at in range(0, len(part.ciphertext), step))
    assert b"".join(open_stream(part, commitment, EVENT, PART_KEY, pieces)) == data


@given(st.binary(max_size=5000), st.data())
def test_any_other_ciphertext_is_refused(data: bytes, draw: st.DataObject) -> None:
    part, commitment, ciphertext = sealed(data)
    at = draw.draw(st.integers(0, len(ciphertext) - 1))
    changed = ciphertext[:at] + bytes((ciphertext[at] ^ 1,)) + ciphertext[at + 1 :]
    for other in (changed, ciphertext[:at], ciphertext + b"x"):
        with pytest.raises(VerificationError, match="part source: the ciphertext does not open under its key"):
            check_stream(part, commitment, EVENT, PART_KEY, [other])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"size": 9_999}, "got more than 9999 bytes, expected 9999"),
        ({"size": 10_001}, "got 10000 bytes, expected 10001"),
        ({"size": 1 << 40}, "expected a part that we can open"),
        ({"codec": 2}, "got codec 2"),
        ({"codec": 0}, "expected 10000"),
        ({"type": 2}, "part content: the ciphertext does not open"),
    ],
)
def test_a_part_that_states_something_else_is_refused(change: dict[str, int], match: str) -> None:
    part, commitment, ciphertext = sealed(b"0123456789" * 1000)
    with pytest.raises(VerificationError, match=match):
        check_stream(part._replace(**change), commitment, EVENT, PART_KEY, [ciphertext])


def test_bytes_that_are_not_those_committed_to_are_refused() -> None:
    part, _, ciphertext = sealed(b"one")
    with pytest.raises(VerificationError, match="does not open under its key and commitment"):
        check_stream(part, bytes(32), EVENT, PART_KEY, [ciphertext])


def test_a_part_that_is_not_as_long_as_it_says_is_our_bug() -> None:
    with pytest.raises(InvariantError, match="got 3 bytes of a part, expected 4"):
        seal_stream(SOURCE, InPieces(b"one", 1, size=4), EVENT, KEY, lambda piece: None)
