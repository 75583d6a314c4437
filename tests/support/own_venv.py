"""Environments of their own, for real clients whose packages would not go along with ours, or are many.

python = own_venv("litellm-venv", requirements) / "python"

Packages are pinned in a file under ``tests/``, and installed once into ``.cache``.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache"


def own_venv(name: str, requirements: Path) -> Path:
    """The ``bin`` of the environment; made on the first call, and again when the requirements change. Two processes
    that ask for the same one make it once."""
    folder, wanted = CACHE / name, hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    stamp = folder / "requirements.sha256"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            uv, python = [sys.executable, "-m", "uv"], str(folder / "bin" / "python")
            subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
            install = [*uv, "pip", "install", "--system-certs", "--quiet", "--python", python]
            subprocess.run([*install, "-r", str(requirements)], check=True)
            stamp.write_text(wanted)
    return folder / "bin"
