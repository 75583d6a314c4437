"""A connection to a syslog receiver, over TLS, and how far its side has taken what was sent.

Syslog has no acknowledgement. What can be known is what TCP knows: the receiver's kernel has acknowledged every byte
(``SIOCOUTQ`` is zero) and the connection stands. Only then is anything confirmed; when the connection ends before, it
is sent again. What a receiver loses after that, nobody tells us.
"""

from __future__ import annotations

import fcntl
import logging
import socket
import ssl
import struct
import termios
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sinks.contract import Pause, Retry
from sinks.forwarding import Line, Sent
from sinks.syslog.message import frame
from sinks.tls import Tls

log = logging.getLogger(__name__)

CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """A receiver. ``tls`` ``None``: plain TCP, for a receiver on this machine."""

    host: str
    port: int = 6514
    tls: Tls | None = field(default_factory=Tls)
    timeout: float = 30.0


class StreamTransport:
    """Implements :class:`sinks.forwarding.Transport`.

    Args:
        config: the receiver.
        unsent: bytes that the receiver's side has not acknowledged yet, of a socket; replaced by tests.
    """

    def __init__(self, config: StreamConfig, unsent: Callable[[socket.socket], int] | None = None) -> None:
        self._config = config
        self._tls = config.tls.context() if config.tls is not None else None
        self._unsent = unsent or unacknowledged
        self._open: socket.socket | None = None
        self._ticket = self._confirmed = 0
        self._lost = False

    def send(self, lines: Sequence[Line]) -> Sent | Retry | Pause:
        """See :meth:`sinks.forwarding.Transport.send`."""
        where = f"{self._config.host}:{self._config.port}"
        try:
            stream = self._open or self._connect()
            pending = bytearray()
            for line in lines:
                pending += frame(line.data)
                if len(pending) >= CHUNK:
                    stream.sendall(pending)
                    pending.clear()
            stream.sendall(pending)
        except ssl.SSLCertVerificationError as error:
            self.close()
            return Pause(f"{where}: its certificate is not trusted: {error.verify_message}: set syslog.ca_file")
        except OSError as error:
            self.close()
            return Retry(f"{where}: {type(error).__name__}: {error}"[:300])
        self._ticket += 1
        return Sent(self._ticket)

    def confirmed(self) -> int | None:
        """See :meth:`sinks.forwarding.Transport.confirmed`."""
        if self._open is not None and self._confirmed < self._ticket and self._ended(self._open):
            self.close()
        if self._lost:
            self._lost = False
            return None
        if self._open is not None and self._unsent(self._open) == 0:
            self._confirmed = self._ticket
        return self._confirmed

    def probe(self) -> str:
        """``""`` when the receiver takes a connection, else what is wrong."""
        try:
            self._connect()
        except OSError as error:
            return f"{self._config.host}:{self._config.port}: {type(error).__name__}: {error}"
        return ""

    def close(self) -> None:
        """Close the connection. What was not confirmed on it is lost: a new one knows nothing of it."""
        if self._open is not None:
            with suppress(OSError):
                self._open.close()
            self._open = None
        if self._confirmed < self._ticket:
            self._lost = True
            self._confirmed = self._ticket

    def _connect(self) -> socket.socket:
        own = self._config
        plain = socket.create_connection((own.host, own.port), own.timeout)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream = plain
        if self._tls is not None:
            try:
                stream = self._tls.wrap_socket(plain, server_hostname=own.host)
            except BaseException:
                plain.close()
                raise
        self._open = stream
        return stream

    def _ended(self, stream: socket.socket) -> bool:
        """Whether the receiver has ended the connection; it has nothing else to say."""
        stream.settimeout(0.0)
        try:
            return stream.recv(1) == b""
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        except OSError:
            return True
        finally:
            with suppress(OSError):
                stream.settimeout(self._config.timeout)


def unacknowledged(stream: socket.socket) -> int:
    """Bytes that the other side's kernel has not acknowledged (``SIOCOUTQ``, tcp(7)). Where that cannot be asked, 0."""
    try:
        packed = fcntl.ioctl(stream.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except OSError:
        return 0
    count: int = struct.unpack("i", packed)[0]
    return count
