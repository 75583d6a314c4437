"""Connections that are closed while the other side says nothing: none is left to the garbage collector."""

from __future__ import annotations

import gc
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tls_front import self_signed

from stores.bus.kafka.config import KafkaConfig, KafkaSecurity
from stores.bus.kafka.connections import Connections
from stores.bus.kafka.errors import Unreached
from stores.bus.kafka.thread import LoopThread


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of a TLS server that shakes hands and then neither answers nor says goodbye, and its certificate."""
    certificate, key = self_signed(tmp_path / "mute")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with context.wrap_socket(plain, server_side=True):
                ended.wait()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], Path(certificate)
    ended.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_a_connection_that_failed_behind_its_handshake_is_closed_with_the_bus(mute: tuple[int, Path]) -> None:
    port, authority = mute
    address = ("127.0.0.1", port)
    config = KafkaConfig(f"127.0.0.1:{port}", security=KafkaSecurity("SSL", ca_file=authority))
    loop = LoopThread("connections")
    connections = Connections(config)

    async def ask() -> None:
        with pytest.raises(Unreached):
            await connections.exchange(address, object(), 0.3)

    loop.submit(ask()).result(10)
    loop.close(connections.close())
    gc.collect()  # warnings are errors here: a transport that is still open would say so
