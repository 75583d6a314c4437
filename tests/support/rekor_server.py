"""A Rekor v2 log on loopback, written to rekor-tiles' CLIENTS.md: hashedrekord only, each entry included at once."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signer.checkpoint import Checkpoint, sign_checkpoint
from signer.keyfile import FileKey
from signer.merkle import inclusion_ranges, leaf, range_hash, root_of
from signer.note import VerifierKey
from signer.policy import RekorLog

ORIGIN = "log2026-1.rekor.example"


class RekorServer:
    """``log`` is how a policy names it; ``broken`` a status to answer with instead."""

    def __init__(self) -> None:
        self._key = FileKey(Ed25519PrivateKey.from_private_bytes(bytes([3]) * 32))
        self.log = RekorLog("public", VerifierKey(ORIGIN, self._key.public_key))
        self.leaves = [leaf(b"of somebody else %d" % number) for number in range(5)]
        self.broken = 0
        self.url = ""

    def add(self, body: bytes) -> tuple[int, bytes]:
        """Status and answer of one request."""
        try:
            asked = json.loads(body)["hashedRekordRequestV002"]
            verifier = asked["signature"]["verifier"]
            if verifier["keyDetails"] != "PKIX_ECDSA_P256_SHA_256":
                return 400, b'{"message": "unsupported key algorithm"}'
        except (ValueError, KeyError):
            return 400, b'{"message": "invalid request"}'
        spec = {
            "data": {"algorithm": "SHA2_256", "digest": asked["digest"]},
            "signature": {"content": asked["signature"]["content"], "verifier": verifier},
        }
        entry = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": spec}}
        canonical = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
        self.leaves.append(leaf(canonical))
        return 201, json.dumps(self._included(len(self.leaves) - 1, canonical)).encode()

    def _included(self, index: int, canonical: bytes) -> dict[str, Any]:
        size = len(self.leaves)
        path = [
            range_hash(start, end, lambda first, last: root_of(self.leaves[first:last]))
            for start, end in inclusion_ranges(index, size)
        ]
        envelope = sign_checkpoint(Checkpoint(ORIGIN, size, root_of(self.leaves)), self._key).decode()
        proof = {
            "logIndex": str(index),
            "rootHash": "AAAA",  # nobody may read these two
            "treeSize": "1",
            "hashes": [base64.b64encode(one).decode() for one in path],
            "checkpoint": {"envelope": envelope},
        }
        return {
            "logIndex": str(index),
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "inclusionProof": proof,
            "canonicalizedBody": base64.b64encode(canonical).decode(),
        }

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = outer.add(body) if self.path == "/api/v2/log/entries" else (404, b"{}")
                status, answer = (outer.broken, b"{}") if outer.broken else (status, answer)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing to standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
