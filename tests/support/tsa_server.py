"""A real time-stamping authority on loopback: ``openssl ts`` behind HTTP.

with TimeStampServer(tmp_path) as tsa:
    tsa.url, tsa.chain                 # chain: PEM, the authority's own certificate first, then its root
    tsa.broken = 503                   # answers with this status from now on
    tsa.alter = lambda reply: …        # or with other bytes than OpenSSL's
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

AUTHORITY = """
[req]
distinguished_name=dn
prompt=no
x509_extensions=v3_ca
[dn]
CN=Test Root CA
O=Test
[v3_ca]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
[v3_tsa]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=critical,timeStamping
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""

STAMPING = """
[tsa]
default_tsa=t
[t]
dir={folder}
serial=$dir/serial
crypto_device=builtin
signer_cert=$dir/tsa.pem
signer_key=$dir/tsa.key
signer_digest=sha256
default_policy=1.3.6.1.4.1.99999.1
digests=sha256,sha384,sha512
accuracy=secs:1
ordering=yes
tsa_name=yes
ess_cert_id_chain=no
ess_cert_id_alg=sha256
"""

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class TimeStampServer:
    """One authority. Its files lie in ``folder``; with ``root``, the folder of another, it is under the same root."""

    def __init__(self, folder: Path, name: str = "Test TSA", root: Path | None = None, days: int = 3650) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._make(name, root, days)
        self.chain = (folder / "tsa.pem").read_bytes() + (folder / "ca.pem").read_bytes()
        self.broken = 0
        self.alter: Callable[[bytes], bytes] = lambda reply: reply
        self.requests = 0
        self.url = ""
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests += 1
                status = outer.broken or (200 if self.headers["Content-Type"] == "application/timestamp-query" else 415)
                reply = outer.alter(outer.stamp(body)) if status == 200 else b"no"
                self.send_response(status)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing to standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def stamp(self, query: bytes) -> bytes:
        """What OpenSSL answers. It keeps its serial number in a plain file, so one at a time."""
        with self._lock:
            (self.folder / "query").write_bytes(query)
            _openssl(self.folder, "ts", "-reply", "-config", "ts.cnf", "-queryfile", "query", "-out", "reply")
            return (self.folder / "reply").read_bytes()

    def _make(self, name: str, root: Path | None, days: int) -> None:
        folder = self.folder
        (folder / "ca.cnf").write_text(AUTHORITY)
        (folder / "ts.cnf").write_text(STAMPING.format(folder=folder))
        (folder / "serial").write_text("01\n")
        if root is None:
            making = ("-keyout", "ca.key", "-out", "ca.pem", "-days", "3650", "-config", "ca.cnf")
            _openssl(folder, "req", "-x509", *CURVE, *making)
        else:
            for file in ("ca.key", "ca.pem"):
                (folder / file).write_bytes((root / file).read_bytes())
        _openssl(folder, "req", "-new", *CURVE, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", f"/O=Test/CN={name}")
        signing = (
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "ca.cnf",
            "-extensions",
            "v3_tsa",
        )
        _openssl(folder, "x509", "-req", "-in", "tsa.csr", *signing, "-out", "tsa.pem", "-days", str(days))


def _openssl(folder: Path, *words: str) -> None:
    done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
