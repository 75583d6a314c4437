"""Handing subject keys to somebody outside: put on the log first, then written to a file of the operator's."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from affidavit.acts import keys_exported
from affidavit.wiring import Wiring
from collector.internal import operator
from schemas.errors import ConfigurationError, EvidenceIncomplete
from schemas.parts import PART_NAMES, SubjectKey
from stores.keys import KeyScope
from stores.keys.grant import Grant, export_granted

Granted = Sequence[tuple[KeyScope, SubjectKey]]


def export_keys(wiring: Wiring, grant: Grant, path: Path, note: str) -> int:
    """Write the keys of a grant to a new file of mode 0600, a JSON line each; return how many.

    The act is on the control shard before the file holds a key, and names the keys by the SHA-256 of their ids.

    If we die after the act, an empty file ``….new`` is left, or a whole one under the name that was asked for: the log
    may tell of an export that did not happen, and never the other way round.

    Raises:
        EvidenceIncomplete: there are no such keys.
        ConfigurationError: the file exists, or cannot be written.
        Unavailable: the act could not be put on the log, and nothing was exported.
    """
    keys = export_granted(wiring.control, wiring.keys.wrapping, grant)
    if not keys:
        raise EvidenceIncomplete(f"there is no subject key of tenant {grant.tenant!r} that this asks for")
    with _new_file(path) as file:
        act = keys_exported(grant, operator(), len(keys), key_ids_digest(keys), note)
        wiring.audit().record_blocking(act)
        file.writelines(key_line(scope, key) + "\n" for scope, key in keys)
    return len(keys)


def key_ids_digest(keys: Granted) -> str:
    """SHA-256, hex, over the 16-byte ids of the keys, sorted: whoever has the file can show which export it was."""
    return hashlib.sha256(b"".join(sorted(key.key_id for _, key in keys))).hexdigest()


def key_line(scope: KeyScope, key: SubjectKey) -> str:
    """One key as ``docs/consuming.md`` describes it."""
    return json.dumps(
        {
            "key_id": key.key_id.hex(),
            "tenant": scope.tenant,
            "subject": scope.subject,
            "retention_class": scope.retention_class,
            "part_type": PART_NAMES.get(scope.part_type, str(scope.part_type)),
            "month": scope.month,
            "key": key.secret.hex(),
        },
        ensure_ascii=False,
    )


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """A file that appears under its name, durably, when all went well, and not at all otherwise."""
    scratch = path.with_name(path.name + ".new")
    if path.exists():
        raise ConfigurationError(f"{path} exists: keys are never written over another file; choose another name")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigurationError(f"cannot create {scratch}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(scratch, path)  # unlike a rename, it replaces nothing
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    finally:
        scratch.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
