"""docs/queries.md: every question runs, and on traffic that has something for it, answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from embedded_engine import database_of_its_own
from query_data import Question, fill, questions

from sinks.clickhouse import ddl

PAGE = (Path(__file__).parents[2] / "docs" / "queries.md").read_text()
QUESTIONS = list(questions(PAGE))
PARAMETERS = {
    "tenant": "acme",
    "user": "user-8",
    "session": "s-2999",
    "exchange": "x-11999",
    "document": "doc-1005",
    "words": "word17",
}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with closing(database_of_its_own()) as engine, closing(engine.client()) as client:
        ddl.migrate(client)
        fill(client, 60_000)
        yield client


def test_there_are_thirty_and_more_each_numbered() -> None:
    assert [question.number for question in QUESTIONS] == list(range(1, 33))
    assert len(re.findall(r"^### ", PAGE, re.MULTILINE)) == len(QUESTIONS)
    for question in QUESTIONS:
        assert question.title.startswith("◆") == question.content, question.title


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: f"{question.number}")
def test_it_answers(client: Client, question: Question) -> None:
    rows = client.query(question.sql, PARAMETERS).result_rows
    assert rows, question.title


def test_parameters_are_all_known() -> None:
    named = set(re.findall(r"\{(\w+):String\}", PAGE))
    assert named == set(PARAMETERS)
