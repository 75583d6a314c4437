"""The directory of a witness: its key, what it is called, the logs that it cosigns, and what it has seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from affidavit.witness.app import WitnessServer
from affidavit.witness.state import WitnessState
from schemas.errors import ConfigurationError, MalformedInput
from signer.keyfile import create_key, load_key
from signer.note import COSIGNATURE_V1, ED25519, SigningKey, VerifierKey, format_vkey, is_key_name, parse_vkey

KEY, LOGS, NAME, STATE = "witness.key", "logs", "name", "witness.db"


@dataclass(frozen=True, slots=True)
class OpenWitness:
    """A witness that is ready to serve. ``vkey`` is what goes into a policy."""

    name: str
    vkey: str
    state: WitnessState
    server: WitnessServer


@dataclass(frozen=True, slots=True)
class MadeWitness:
    """What :func:`make_witness` made, or found."""

    name: str
    vkey: str


def make_witness(folder: Path, name: str, logs: Sequence[str]) -> MadeWitness:
    """Make a witness, or give one other logs.

    Raises:
        ConfigurationError: it has another name already: its key is only worth what its name promises.
        MalformedInput: a name that is none, or a key that is none of a log.
    """
    if not is_key_name(name):
        raise MalformedInput(f"got name {name!r}, expected one without spaces and '+', e.g. witness.example.org")
    for log in logs:
        _log(log)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (folder / NAME).exists() and _text(folder / NAME) != name:
        raise ConfigurationError(f"{folder} is the directory of witness {_text(folder / NAME)}: choose another")
    if not (folder / KEY).exists():
        create_key(folder / KEY)
    (folder / NAME).write_text(name + "\n", encoding="utf-8")
    scratch = folder / f"{LOGS}.new"
    scratch.write_text("".join(f"{log}\n" for log in logs), encoding="utf-8")
    scratch.replace(folder / LOGS)  # whole or not at all, under a witness that runs
    return MadeWitness(name, _vkey(name, load_key(folder / KEY)))


@contextmanager
def open_witness(folder: Path) -> Iterator[OpenWitness]:
    """Open it.

    Raises:
        ConfigurationError: there is none, or its key cannot be read.
    """
    if not (folder / NAME).is_file():
        raise ConfigurationError(f"{folder} is no directory of a witness: make one with affidavit witness init")
    name, key = _text(folder / NAME), load_key(folder / KEY)
    _logs(folder)

    def logs() -> list[VerifierKey]:
        return _logs(folder)

    state = WitnessState(folder / STATE)
    try:
        yield OpenWitness(name, _vkey(name, key), state, WitnessServer(name, key, logs, state))
    finally:
        state.close()


def _logs(folder: Path) -> list[VerifierKey]:
    """The list as it is now: a deployment that rotates its key is given the next one while the witness runs."""
    return [_log(line) for line in _text(folder / LOGS).splitlines()]


def _vkey(name: str, key: SigningKey) -> str:
    return format_vkey(VerifierKey(name, key.public_key, COSIGNATURE_V1))


def _log(text: str) -> VerifierKey:
    key = parse_vkey(text.strip())
    if key.algorithm != ED25519:
        raise MalformedInput(f"got {text[:120]!r}, expected the key of a log (type 0x01), not that of a witness")
    return key


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()
