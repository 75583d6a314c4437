"""What only the local object store does: files, folders, crashes, full disks."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas.errors import Refused, RetentionLocked, Unavailable
from stores.objects import NewObject
from stores.objects.files import ORPHAN_SECONDS
from stores.objects.local import LocalObjects
from stores.objects.lock import UNREADABLE, ObjectLock, format_lock, parse_lock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[LocalObjects]:
    store = LocalObjects(tmp_path / "objects")
    yield store
    store.close()


def test_an_object_is_a_plain_read_only_file(objects: LocalObjects, tmp_path: Path) -> None:
    objects.create([NewObject("a/b.avro", b"one")])
    path = tmp_path / "objects" / "a" / "b.avro"
    assert path.read_bytes() == b"one"
    assert path.stat().st_mode & 0o222 == 0
    assert path.stat().st_nlink == 1


def test_locks_survive_a_plain_copy_of_the_folder(objects: LocalObjects, tmp_path: Path) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    objects.create([NewObject("a/b", b"one", retain_until=until, hold=True)])
    subprocess.run(["cp", "-r", tmp_path / "objects", tmp_path / "copy"], check=True)
    copy = LocalObjects(tmp_path / "copy")
    try:
        assert list(copy.list("")) == list(objects.list(""))
        with pytest.raises(RetentionLocked, match="object a/b: is held"):
            copy.delete(["a/b"])
    finally:
        copy.close()


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff", b'{"retain_until": 7, "hold": false}\n', b"[" * 100_000])
def test_a_lock_that_does_not_parse_holds(objects: LocalObjects, tmp_path: Path, text: bytes) -> None:
    objects.create([NewObject("a", b"one", hold=True)])
    (tmp_path / "objects" / "~locks" / "a").write_bytes(text)
    with pytest.raises(RetentionLocked, match="object a: is held"):
        objects.delete(["a"])


@pytest.mark.parametrize("lock", [ObjectLock(), ObjectLock(NOW), ObjectLock(NOW + timedelta(microseconds=1), True)])
def test_locks_are_written_and_read_alike(lock: ObjectLock) -> None:
    assert parse_lock(format_lock(lock)) == lock
    assert parse_lock(format_lock(lock)[:-1]) == UNREADABLE


def test_an_object_cannot_be_a_folder(objects: LocalObjects) -> None:
    objects.create([NewObject("a/b", b"one")])
    with pytest.raises(Refused, match="an object and a folder cannot have the same name"):
        objects.create([NewObject("a", b"two")])
    with pytest.raises(Refused, match="an object and a folder cannot have the same name"):
        objects.put("a", b"two")
    with pytest.raises(Refused, match="an object and a folder cannot have the same name"):
        objects.create([NewObject("a/b/c", b"two")])


def test_files_that_can_be_no_objects_are_left_alone(objects: LocalObjects, tmp_path: Path) -> None:
    objects.create([NewObject("a", b"one")])
    (tmp_path / "objects" / "a note").write_text("hello")
    (tmp_path / "objects" / "link").symlink_to("/")
    assert [info.key for info in objects.list("")] == ["a"]


def test_orphans_of_dead_processes_are_removed_when_they_are_old(objects: LocalObjects, tmp_path: Path) -> None:
    old, young = tmp_path / "objects/~aside/old", tmp_path / "objects/~aside/young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    before = old.stat().st_mtime - ORPHAN_SECONDS - 1
    os.utime(old, (before, before))
    LocalObjects(tmp_path / "objects").close()
    assert (old.exists(), young.exists()) == (False, True)


def test_nothing_is_left_aside(objects: LocalObjects, tmp_path: Path) -> None:
    objects.create([NewObject(f"a/{number}", b"one") for number in range(20)])
    objects.create([NewObject(f"a/{number}", b"one") for number in range(20)])
    objects.put("b", b"two")
    assert list((tmp_path / "objects" / "~aside").iterdir()) == []


def test_a_full_disk_is_unavailable_and_leaves_nothing(objects: LocalObjects, tmp_path: Path) -> None:
    # A limit on file size fails writes as a full disk does: part of the bytes first, then an error.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(Unavailable, match="File too large"):
            objects.create([NewObject("small", b"x"), NewObject("large", b"x" * 100_001)])
        with pytest.raises(Unavailable, match="File too large"):
            objects.put("large", b"x" * 100_001)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert list(objects.list("")) == []
    assert list((tmp_path / "objects" / "~aside").iterdir()) == []
    objects.create([NewObject("small", b"x"), NewObject("large", b"x" * 100_001)])


def test_a_folder_that_is_gone_is_unavailable(objects: LocalObjects, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "objects")
    with pytest.raises(Unavailable, match="No such file or directory"):
        objects.put("a", b"x")


KILLED = """
import sys
from stores.objects import NewObject
from stores.objects.local import LocalObjects
store = LocalObjects(sys.argv[1])
for turn in range(10_000):
    store.create([NewObject(f"{turn}/{number}", b"%d" % turn * 5000, hold=number == 0) for number in range(3)])
    store.put("checkpoint", b"%d" % turn * 5000)
    print(turn, flush=True)
"""


@pytest.mark.parametrize("acknowledgements", [1, 3, 8, 20, 50])
def test_killed_at_any_point_objects_are_whole_or_absent(tmp_path: Path, acknowledgements: int) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(acknowledgements):
            last = int(child.stdout.readline())
        child.kill()
        last = int((child.stdout.read().split() or [str(last)])[-1])
    store = LocalObjects(tmp_path)
    try:
        for turn in range(last + 1):
            for number in range(3):
                assert store.get(f"{turn}/{number}") == b"%d" % turn * 5000
        for info in store.list(""):
            turn = info.key.partition("/")[0]
            assert info.key == "checkpoint" or store.get(info.key) == turn.encode() * 5000
            assert info.hold == info.key.endswith("/0")
        assert store.get("checkpoint") in (b"%d" % last * 5000, b"%d" % (last + 1) * 5000)
    finally:
        store.close()
