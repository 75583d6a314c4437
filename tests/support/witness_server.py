"""A witness of ours on loopback: the real application over a file.

with witness_server(tmp_path, [vkey_of_the_log]) as witness:
    witness.policy                     # its name, key and URL, as a policy has them
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.witness.app import WitnessServer
from affidavit.witness.state import WitnessState
from collector.server import serve
from signer.clock import wall_clock
from signer.keyfile import FileKey
from signer.note import COSIGNATURE_V1, VerifierKey
from signer.policy import Witness

NAME = "witness.example"


@dataclass(frozen=True, slots=True)
class RunningWitness:
    """``policy`` is how a policy names it, ``server`` what answers."""

    policy: Witness
    server: WitnessServer
    state: WitnessState


@contextmanager
def witness_server(
    folder: Path,
    logs: Sequence[VerifierKey],
    *,
    name: str = NAME,
    seed: int = 7,
    clock: Callable[[], int] = wall_clock,
) -> Iterator[RunningWitness]:
    """Run one until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    key = FileKey(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))
    state = WitnessState(folder / "witness.db")
    server = WitnessServer(name, key, lambda: logs, state, clock)
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    port: list[int] = []
    listening = threading.Event()

    def started(number: int) -> None:
        port.append(number)
        listening.set()

    def run() -> None:
        loop.run_until_complete(serve(server.app(), "127.0.0.1", 0, stop, started=started))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert listening.wait(30)
    vkey = VerifierKey(name, key.public_key, COSIGNATURE_V1)
    try:
        yield RunningWitness(Witness(name.partition(".")[0], vkey, f"http://127.0.0.1:{port[0]}"), server, state)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()
        state.close()
