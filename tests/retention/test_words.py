"""Queries of holds: what they mean, and which are declined."""

from __future__ import annotations

import pytest

from retention.words import Term, format_words, occur, parse_words, tokens
from schemas.errors import MalformedInput


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("Falcon", (Term("word", "falcon"),)),
        (' merger   "Project  Falcon" ', (Term("word", "merger"), Term("phrase", "project falcon"))),
        ("acquisi*", (Term("part", "acquisi"),)),
        ("Élan", (Term("part", "élan"),)),
        ('"or"', (Term("phrase", "or"),)),
        ('"a@b.com" x x', (Term("phrase", "a@b.com"), Term("word", "x"))),
    ],
)
def test_terms(query: str, terms: tuple[Term, ...]) -> None:
    assert parse_words(query) == terms
    assert parse_words(format_words(terms)) == terms


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "an empty query"),
        ("  ", "an empty query"),
        ('merger "project falcon', "expected a second quote after the one at 8"),
        ("a OR b", "got OR in query"),
        ("NOT a", "got NOT in query"),
        ("*", "expected a word of letters and digits"),
        ("a*b", "expected a word of letters and digits"),
        ("user:ada", "other signs stand in quotes"),
        ('"..."', "expected words, and no backslash"),
        ('"c:\\new"', "expected words, and no backslash"),
    ],
)
def test_what_does_not_parse(query: str, message: str) -> None:
    with pytest.raises(MalformedInput, match=message):
        parse_words(query)


def test_what_occurs() -> None:
    content = '{"text":"The Merger of\\nproject\\tFALCON, and Élan"}'
    for query in ("merger", "FALCON project", '"project falcon"', "merge*", "élan", "éla*"):
        assert occur(parse_words(query), content), query
    for query in ("merge", '"falcon project"', "falcons", "alcon", '"of falcon"'):
        assert not occur(parse_words(query), content), query


def test_tokens_as_the_index_has_them() -> None:
    assert tokens("a1_b-c straße 北京") == ["a1", "b", "c", "straße", "北京"]
