"""A TCP proxy in front of a server that stops in the middle: what a paused process or a slow network looks like.

proxy = HaltingProxy(server.port)
proxy.halt_requests(after=100_000)      # the first connection that has sent this much gets no further
proxy.halted.wait()
proxy.go_on()
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class HaltingProxy:
    """Forwards connections to a port of this machine until it is told to halt one."""

    def __init__(self, port: int) -> None:
        self.halted = threading.Event()
        self._target = port
        self._go_on = threading.Event()
        self._go_on.set()
        self._after = {"requests": -1, "answers": -1}
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._spawn(self._accept)

    def halt_requests(self, after: int) -> None:
        """Let ``after`` more bytes of requests through on any one connection, and nothing behind them."""
        self._arm("requests", after)

    def halt_answers(self) -> None:
        """Let requests through, and no answer back."""
        self._arm("answers", 0)

    def go_on(self) -> None:
        """Let everything through again, what was held back first."""
        self._after = {"requests": -1, "answers": -1}
        self._go_on.set()

    def cut(self) -> None:
        """Break all connections; what was held back is lost."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for one in sockets:
            _shut(one)
        self.go_on()

    def close(self) -> None:
        _shut(self._listener)
        self.cut()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _arm(self, what: str, after: int) -> None:
        self.halted.clear()
        self._go_on.clear()
        self._after[what] = after

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets += [client, server]
            self._spawn(self._pump, client, server, "requests")
            self._spawn(self._pump, server, client, "answers")

    def _pump(self, source: socket.socket, target: socket.socket, what: str) -> None:
        passed = 0
        try:
            while data := source.recv(1 << 14):
                if self._after[what] < 0:
                    passed = 0
                elif passed + len(data) > self._after[what]:
                    self.halted.set()
                    self._go_on.wait()
                    passed = 0
                passed += len(data)
                target.sendall(data)
        except OSError:
            pass
        finally:
            _shut(source)
            _shut(target)


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
