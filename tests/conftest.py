"""What all tests share: where the reference material lies, and the rule that nothing skips under CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says nothing about whether it is right, and everything about what else the machine does.
settings.register_profile("affidavit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("affidavit")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared(name: str) -> Path:
    """A folder of reference material beside the checkout; skips, with its reason, where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"shared/{name} is not beside this checkout")
    return path


@pytest.fixture
def vectors() -> Path:
    """Bytes made by other implementations of the ledger's formats."""
    return shared("vectors")


@pytest.fixture
def samples() -> Path:
    """Payloads that real gateways sent."""
    return shared("samples")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """Under CI a skip is a failure, unless the test says why it cannot run there (``unreachable`` marker)."""
    outcome = yield
    report = outcome.get_result()
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and os.environ.get("CI") == "true" and item.get_closest_marker("unreachable") is None:
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {report.longrepr}"
