"""``make demo``, as it is run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(400)
def test_the_demonstration_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ran = subprocess.run([sys.executable, "-m", "affidavit.demo"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr
    assert "Everything was as it should be" in ran.stdout
    for code, what in ((1, "records --source clickhouse"), (1, "records --source archive"), (2, "log")):
        assert f"exit code {code}  affidavit verify {what}" in ran.stdout
    shutil.rmtree(tmp_path, ignore_errors=True)
