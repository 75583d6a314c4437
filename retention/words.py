"""What a hold looks for in content: words and phrases, all of which must occur. Pure.

::

    merger "project falcon" acquisi*

A *word* is a run of letters and digits, as the text index sees it. A word with a ``*`` behind it is the beginning or
any other part of a word. A *phrase* stands in quotes. Upper and lower case are the same. A word or phrase with other
letters than those of ASCII is found as a part of words too, because the index tells its cases apart. There is no OR and
no NOT: alternatives are further scopes of the hold, and what would take records out of a hold again is not for a query.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from schemas.errors import MalformedInput

_TERM = re.compile(r'\s*(?:"([^"]*)"|([^\s"]+))')
_TOKEN = re.compile(r"[a-z0-9\u0080-\U0010ffff]+")
_OPERATORS = ("OR", "NOT", "AND", "NEAR")
_ESCAPES = (("\\\\", " "), ("\\n", " "), ("\\t", " "), ("\\r", " "))
"""As in the column ``content_text`` of ClickHouse, in its order."""


class Term(NamedTuple):
    """One of the things that must occur. ``text`` is in lower case.

    ``kind``: a ``word`` is a token; a ``phrase`` is a stretch of text whose tokens are tokens; a ``part`` is a stretch
    of text that may begin and end within a word.
    """

    kind: Literal["word", "phrase", "part"]
    text: str


def parse_words(text: str) -> tuple[Term, ...]:
    """The terms of a query.

    Raises:
        MalformedInput: it does not parse, or asks for what there is not; with the remedy.
    """
    terms: list[Term] = []
    at = 0
    while text[at:].strip():
        match = _TERM.match(text, at)
        if match is None:
            quote = text.find('"', at) + 1
            raise MalformedInput(f"got query {text!r}, expected a second quote after the one at {quote}")
        phrase, word = match.groups()
        terms.append(_phrase(phrase, text) if phrase is not None else _word(word, text))
        at = match.end()
    if not terms:
        raise MalformedInput('got an empty query, expected words or "phrases", all of which must occur')
    return tuple(dict.fromkeys(terms))


def format_words(terms: Sequence[Term]) -> str:
    """What :func:`parse_words` reads as these terms."""
    return " ".join(_format(term) for term in terms)


def tokens(text: str) -> list[str]:
    """The tokens of a text in lower case: runs of ASCII letters and digits and of everything beyond ASCII."""
    return _TOKEN.findall(text)


def occur(terms: Sequence[Term], content: str) -> bool:
    """Whether all terms occur in a content: JSON text, as it is kept."""
    plain = content
    for escape, instead in _ESCAPES:
        plain = plain.replace(escape, instead)
    ascii_low = _ascii_lower(plain)
    there: set[str] | None = None
    for term in terms:
        if not term.text.isascii():
            if term.text not in plain.lower():
                return False
            continue
        if term.text not in ascii_low:
            return False
        if term.kind != "part":
            there = set(tokens(ascii_low)) if there is None else there
            if not there.issuperset(tokens(term.text)):
                return False
    return True


def _word(word: str, query: str) -> Term:
    if word in _OPERATORS:
        raise MalformedInput(
            f"got {word} in query {query!r}, expected words and phrases alone: all of them must occur; an alternative "
            f'is a further scope (hold extend), and to look for the word itself write "{word.lower()}"'
        )
    part = word.endswith("*")
    text = word[:-1] if part else word
    low = text.lower()
    if tokens(low) != [low]:
        raise MalformedInput(
            f"got {word!r} in query {query!r}, expected a word of letters and digits, with a * behind it or not; other "
            'signs stand in quotes: "…"'
        )
    return Term("part" if part or not low.isascii() else "word", low)


def _phrase(phrase: str, query: str) -> Term:
    low = " ".join(phrase.lower().split())
    if "\\" in low or not tokens(low):
        raise MalformedInput(f'got phrase "{phrase}" in query {query!r}, expected words, and no backslash')
    return Term("phrase" if low.isascii() else "part", low)


def _format(term: Term) -> str:
    if term.kind == "word":
        return term.text
    if term.kind == "part" and tokens(term.text) == [term.text]:
        return term.text + "*"
    return f'"{term.text}"'


def _ascii_lower(text: str) -> str:
    """Lower case of ASCII letters alone, as ClickHouse's ``lower``."""
    return text.translate(_LOWER)


_LOWER = {ord(upper): upper.lower() for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
