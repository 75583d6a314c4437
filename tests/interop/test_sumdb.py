"""Our logs, read by code that we did not write: Go's own checksum database (golang.org/x/mod/sumdb)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from signed_ledger import EVENTS_ORIGIN, KEY, World

from signer.note import VerifierKey, format_vkey

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).parent / "sumdb"


@pytest.fixture(scope="module")
def sumdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built once."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no Go here: install one to have our tiles read by golang.org/x/mod")
    folder = tmp_path_factory.mktemp("sumdb")
    shutil.copytree(SOURCE, folder / "src")
    environment = os.environ | {"CGO_ENABLED": "0"}
    command = [go, "build", "-o", str(folder / "sumdb"), "."]
    done = subprocess.run(command, cwd=folder / "src", env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return folder / "sumdb"


def laid_out(world: World, folder: Path) -> Path:
    """The log of the events, as files."""
    prefix = f"ledger/{EVENTS_ORIGIN}/"
    for info in world.objects.list(prefix):
        path = folder / info.key.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(world.objects.get(info.key))
    return folder


def read(sumdb: Path, folder: Path, *more: Path) -> tuple[int, str]:
    vkey = format_vkey(VerifierKey(EVENTS_ORIGIN, KEY.public_key))
    command = [sumdb, vkey, folder / "checkpoint", folder, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.strip()


async def test_go_reads_our_log(sumdb: Path, tmp_path: Path) -> None:
    world = World()
    await world.append_opaque(300)
    await world.sign()
    old = tmp_path / "old"
    old.write_bytes(world.ledger.checkpoint(EVENTS_ORIGIN))
    for count in (212, 70_000):
        await world.append_opaque(count)
        await world.sign()
        folder = laid_out(world, tmp_path / str(count))
        lock = world.control.lock(EVENTS_ORIGIN)
        assert lock is not None
        assert read(sumdb, folder, old) == (0, f"{lock.size} entries")


async def test_go_finds_what_was_changed(sumdb: Path, tmp_path: Path) -> None:
    world = World()
    await world.append_opaque(600)
    await world.sign()
    folder = laid_out(world, tmp_path / "log")
    bundle = folder / "tile/entries/000"
    changed = bytearray(bundle.read_bytes())
    changed[10] ^= 1
    bundle.write_bytes(bytes(changed))
    code, words = read(sumdb, folder)
    assert code == 1
    assert words.startswith("entry 0: ")
    note = folder / "checkpoint"
    note.write_bytes(note.read_bytes().replace(b"\n601\n", b"\n600\n"))
    assert read(sumdb, folder)[0] == 1
