"""The state of a verification in a file, for the next one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from schemas.errors import ConfigurationError
from signer.report import Report
from signer.verified import VerifiedUpTo, format_verified, parse_verified


def load_verified(path: Path, deployment: str) -> dict[str, VerifiedUpTo]:
    """What an earlier verification has saved; nothing where there is no file yet.

    Raises:
        MalformedInput: another file, or of another deployment.
        ConfigurationError: it cannot be read.
    """
    try:
        return parse_verified(path.read_bytes(), deployment)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None


def save_verified(path: Path, report: Report, before: Mapping[str, VerifiedUpTo]) -> None:
    """Save what a report has verified. A log with which something is wrong keeps the state that it had before, so that
    the next run finds it again."""
    logs = dict(before) | {log.origin: log.up_to for log in report.logs if log.up_to is not None}
    scratch = path.with_name(path.name + ".new")
    try:
        with scratch.open("wb") as file:
            file.write(format_verified(report.deployment, report.checked_ms, logs))
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
