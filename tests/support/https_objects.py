"""An object store on loopback, by https, with a certificate of its own: for what is fetched from signed addresses."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tls_front import self_signed


@dataclass(slots=True)
class HttpsObjects:
    """``bodies``: path → (status, headers, body). ``asked``: every path and query that was asked for."""

    authority: Path
    url: str = ""
    bodies: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    def context(self) -> ssl.SSLContext:
        """What trusts this server and nobody else."""
        return ssl.create_default_context(cafile=str(self.authority))


@contextmanager
def https_objects(folder: Path) -> Iterator[HttpsObjects]:
    """Serve on a free port until the block ends."""
    certificate, key = self_signed(folder / "objects")
    objects = HttpsObjects(certificate)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            objects.asked.append(self.path)
            objects.hosts.append(self.headers.get("host", ""))
            status, headers, body = objects.bodies.get(self.path.partition("?")[0], (404, {}, b"<Error/>"))
            self.send_response(status)
            for name, value in ({"content-length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    objects.url = f"https://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield objects
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
