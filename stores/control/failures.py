"""What SQLAlchemy and the drivers raise, as errors of our own tree. Texts hold no secret and no value of a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError, SQLAlchemyError

from schemas.errors import AffidavitError, ConfigurationError, InvariantError, Unavailable

UNDEFINED_TABLE = "42P01"
UNDEFINED_COLUMN = "42703"
INSUFFICIENT_PRIVILEGE = "42501"
READ_ONLY = "25006"
"""SQLSTATEs (PostgreSQL documentation, appendix A)."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise the errors of the block as ours.

    Raises:
        Unavailable: the database cannot be reached, stays locked, gave up on a statement, or broke off. A transaction
            that was about to be committed may be committed.
        ConfigurationError: it has no tables, or older ones, or the user may not use them.
        InvariantError: it was given something that it refuses.
    """
    try:
        yield
    except DBAPIError as error:
        raise classified(error) from error
    except SQLAlchemyError as error:
        raise Unavailable(f"control database: {type(error).__name__}") from error


def classified(error: DBAPIError) -> AffidavitError:
    """What an error of a driver means."""
    state, said = sqlstate(error), message(error.orig)
    if state == UNDEFINED_TABLE or "no such table" in said:
        return ConfigurationError("the control database has no tables yet: run `affidavit init`")
    if state == UNDEFINED_COLUMN or "no such column" in said or "has no column" in said:
        return ConfigurationError("the control database has tables of an older version: run `affidavit init`")
    if state == INSUFFICIENT_PRIVILEGE:
        return ConfigurationError(f"control database: {said}; grant its user all privileges on the tables")
    if isinstance(error, (DataError, IntegrityError, ProgrammingError, NotSupportedError)):
        return InvariantError(f"control database: {said}")
    return Unavailable(f"control database: {said}")


def sqlstate(error: DBAPIError) -> str | None:
    """The SQLSTATE that came with the error; ``None`` from SQLite, and when the server said nothing."""
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def message(error: BaseException | None) -> str:
    """One line of what the driver says. Of a message of PostgreSQL only its primary line: details quote rows."""
    diagnosis = getattr(error, "diag", None)
    said = getattr(diagnosis, "message_primary", None) or str(error)
    return " ".join(said.split())
