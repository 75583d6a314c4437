"""The lock of a role: one process at a time, found by others, gone with its holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from affidavit import lock
from affidavit.layout import Layout
from schemas.errors import ConfigurationError

HOLDER = """
import sys, signal
from pathlib import Path
from affidavit import lock
from affidavit.layout import Layout
with lock.hold(Layout(Path(sys.argv[1])), ["collector"], "up") as held:
    held.announce("collector", "http://127.0.0.1:1")
    print("held", flush=True)
    signal.pause()
"""


def test_a_second_process_is_refused_and_told_the_pid(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert lock.running(layout, "collector") == lock.Running(holder.pid, "up", "http://127.0.0.1:1")
        says = rf"process {holder.pid} \(affidavit up\) already runs the collector"
        with pytest.raises(ConfigurationError, match=says), lock.hold(layout, ["collector"], "up"):
            pass
        holder.send_signal(signal.SIGKILL)
    assert lock.running(layout, "collector") is None
    with lock.hold(layout, ["collector"], "up"):
        pass


def test_locks_are_released_together(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with lock.hold(layout, ["collector", "signer"], "up"):
        assert lock.running(layout, "signer") == lock.Running(os.getpid(), "up")
        assert lock.running(layout, "archive") is None
    assert lock.running(layout, "collector") is None
    assert lock.running(layout, "signer") is None


def test_nobody_runs_a_role_of_an_absent_directory(tmp_path: Path) -> None:
    assert lock.running(Layout(tmp_path / "absent"), "collector") is None
