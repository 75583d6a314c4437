"""Debian's packages that tests need: installed where we are root and they are not there, one installation at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from ctypes.util import find_library
from pathlib import Path


def install(program: str, *packages: str) -> bool:
    """Whether ``program`` is there, after installing the packages if it was not and if we may."""
    return _install(lambda: shutil.which(program) is not None, packages)


def install_library(name: str, *packages: str) -> bool:
    """The same for a shared library, such as ``magic``."""
    return _install(lambda: find_library(name) is not None, packages)


def _install(there: Callable[[], bool], packages: Sequence[str]) -> bool:
    if there():
        return True
    if os.getuid() != 0 or not shutil.which("apt-get"):
        return False
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with (Path(tempfile.gettempdir()) / "affidavit-tests-apt.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            if not there():
                command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=200", *words]
                subprocess.run(command, env=environment, capture_output=True, timeout=280, check=False)
    return there()
