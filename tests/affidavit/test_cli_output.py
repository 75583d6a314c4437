"""What commands print: sizes, ages, progress; and errors as lines with exit codes."""

from __future__ import annotations

import pytest

from affidavit.cli import exits, output
from affidavit.cli.exits import exit_code
from schemas.errors import (
    AccessDenied,
    AffidavitError,
    ConfigurationError,
    EvidenceIncomplete,
    InvariantError,
    LedgerContradiction,
    MalformedInput,
    Refused,
    Unavailable,
    VerificationError,
)


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")]
)
def test_size(count: int, shown: str) -> None:
    assert output.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.25, "0.2 s"), (12, "12 s"), (150, "2 min"), (7201, "2 h"), (400_000, "5 d")]
)
def test_age(seconds: float, shown: str) -> None:
    assert output.age(seconds) == shown


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VerificationError("x"), exits.INTEGRITY_FAILURE),
        (EvidenceIncomplete("x"), exits.INCOMPLETE),
        (LedgerContradiction("x"), exits.INTEGRITY_FAILURE),
        (MalformedInput("x"), exits.USAGE),
        (AccessDenied("x"), exits.USAGE),
        (ConfigurationError("x"), exits.USAGE),
        (Unavailable("x"), exits.UNAVAILABLE),
        (Refused("x"), exits.UNAVAILABLE),
        (InvariantError("x"), exits.BUG),
    ],
)
def test_every_error_has_its_exit_code(error: AffidavitError, code: int) -> None:
    assert exit_code(error) == code


def test_progress_is_silent_at_first(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress() as report:
        report(1, 10, "log")
    assert capsys.readouterr() == ("", "")


def test_progress_off_a_terminal_is_lines_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "PATIENCE", 0.0)
    with output.progress() as report:
        report(1000, 5000, "log")
        report(1500, None, "log")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "log: 1,000 of 5,000\nlog: 1,500\n"
