"""What an error of ClickHouse means for a batch. Pure.

Four answers: try again (the default, because ambiguity must not lose a record), stop and call a person, the rows
themselves are at fault, or the shard is another's (:mod:`sinks.clickhouse.fence`). Numbers are those of ClickHouse's
``ErrorCodes.cpp``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from clickhouse_connect.driver.exceptions import ClickHouseError, Error

from schemas.errors import ConfigurationError, Unavailable


class Fault(Enum):
    """Whose fault an error is."""

    RETRY = "retry"
    PAUSE = "pause"
    ROWS = "rows"
    FENCED = "fenced"


_PAUSE = {
    16: "no such column in table",
    36: "bad arguments",
    44: "illegal column",
    46: "unknown function",
    47: "unknown identifier",
    48: "not implemented",
    60: "unknown table",
    62: "syntax error",
    73: "unknown format",
    81: "unknown database",
    115: "unknown setting",
    164: "readonly",
    192: "unknown user",
    193: "wrong password",
    194: "required password",
    195: "ip address not allowed",
    291: "database access denied",
    344: "support is disabled",
    392: "query is prohibited",
    452: "setting constraint violation",
    497: "access denied",
    516: "authentication failed",
}

_ROWS = {
    6: "cannot parse text",
    26: "cannot parse quoted string",
    27: "cannot parse input",
    32: "attempt to read after eof",
    33: "cannot read all data",
    53: "type mismatch",
    69: "argument out of bound",
    70: "cannot convert type",
    72: "cannot parse number",
    117: "incorrect data",
    128: "too large array size",
    131: "too large string size",
    190: "sizes of arrays do not match",
    349: "cannot insert null in ordinary column",
    748: "avro exception",
    1001: "std::exception (the Avro reader throws these)",
}

_FENCED = 395
"""A condition that throws (``throwIf``). The only statements of ours that have one are inserts behind a fence."""


def code_of(error: ClickHouseError) -> int | None:
    """The number of an error, ``None`` where there was no answer at all (a lost connection, a closed client)."""
    return error.code if isinstance(error, Error) else None


def classify(code: int | None) -> Fault:
    """The fault of an error with this code; ``None`` where there was no answer at all."""
    if code in _ROWS:
        return Fault.ROWS
    if code == _FENCED:
        return Fault.FENCED
    return Fault.PAUSE if code in _PAUSE else Fault.RETRY


_PARAMETERS = re.compile(r" with url: \S+")
"""Where no answer came, the client library quotes all parameters of the request."""

_REMEDIES = {
    81: "let somebody who may do so create the database",
    192: "check the user and the password of the sink",
    193: "check the user and the password of the sink",
    194: "check the user and the password of the sink",
    291: "grant the user the sink's database",
    497: "grant the user what the message names",
    516: "check the user and the password of the sink",
}


def remedied(error: ClickHouseError) -> str:
    """The first line of an error, and what to do about it where that is known."""
    text = _PARAMETERS.sub("", str(error).partition("\n")[0])[:500]
    remedy = _REMEDIES.get(code_of(error) or 0)
    return f"{text}; {remedy}" if remedy else text


@contextmanager
def said_of(what: str) -> Iterator[None]:
    """Errors of ClickHouse as ours, in a sentence about ``what``.

    Raises:
        ConfigurationError: ClickHouse refuses it.
        Unavailable: it does not answer, or not now.
    """
    try:
        yield
    except ClickHouseError as error:
        if classify(code_of(error)) is Fault.PAUSE:
            raise ConfigurationError(f"ClickHouse refuses {what}: {remedied(error)}") from None
        raise Unavailable(f"ClickHouse does not answer for {what}: {remedied(error)}") from None
