"""Keys that sign and are never given out: a real PKCS#11 token (SoftHSM), AWS KMS and Vault by their protocols."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from debian import install

from schemas.errors import ConfigurationError, Refused, Unavailable
from signer.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from signer.custody.aws_kms import KmsKey
from signer.custody.vault import VaultKey
from signer.note import SigningKey, VerifierKey

ORIGIN = "audit.example.com/events/0/2026q4"
SECRET = Ed25519PrivateKey.from_private_bytes(bytes([5]) * 32)
PUBLIC = SECRET.public_key().public_bytes_raw()
Handle = Callable[[str, dict[str, str], bytes], tuple[int, bytes]]


@contextmanager
def http(handle: Handle) -> Iterator[str]:
    """A server on loopback that answers with what ``handle`` makes of path, headers in lower case, and body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = handle(self.path, headers, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            """Nothing to standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def signs(key: SigningKey, public: bytes) -> None:
    """A checkpoint under this key opens as any other."""
    assert key.public_key == public
    note = sign_checkpoint(Checkpoint(ORIGIN, 5, bytes(32)), key)
    assert open_checkpoint(note, ORIGIN, [VerifierKey(ORIGIN, public)]).size == 5
    assert key.sign(b"x") == key.sign(b"x"), "Ed25519 is deterministic, and a replay gives the same bytes"


# --- AWS KMS


def kms(spec: str = "ECC_NIST_EDWARDS25519", secret: Ed25519PrivateKey = SECRET, error: str = "") -> Handle:
    """As the service model of KMS has it (TrentService, JSON 1.1)."""

    def handle(path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        asked = json.loads(body)
        assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIA")
        assert asked["KeyId"] == "alias/ledger"
        if error:
            return (400, json.dumps({"__type": error, "message": "no"}).encode())
        if headers["x-amz-target"] == "TrentService.GetPublicKey":
            der = SECRET.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            answer = {"KeyId": "k", "KeySpec": spec, "PublicKey": base64.b64encode(der).decode()}
        else:
            assert headers["x-amz-target"] == "TrentService.Sign"
            assert (asked["MessageType"], asked["SigningAlgorithm"]) == ("RAW", "ED25519_SHA_512")
            signature = secret.sign(base64.b64decode(asked["Message"]))
            answer = {"KeyId": "k", "Signature": base64.b64encode(signature).decode()}
        return 200, json.dumps(answer).encode()

    return handle


def kms_key(url: str) -> KmsKey:
    return KmsKey("alias/ledger", region="eu-central-1", endpoint=url, access_key="AKIATEST", secret_key="secret")


def test_aws_kms_signs() -> None:
    with http(kms()) as url:
        signs(kms_key(url), PUBLIC)


def test_aws_kms_that_signs_with_another_key_is_caught() -> None:
    with (
        http(kms(secret=Ed25519PrivateKey.generate())) as url,
        pytest.raises(Refused, match="not of its own public key"),
    ):
        kms_key(url).sign(b"x")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("NotFoundException", ConfigurationError),
        ("AccessDeniedException", ConfigurationError),
        ("KMSInternalException", Unavailable),
    ],
)
def test_aws_kms_that_says_no(code: str, kind: type[Exception]) -> None:
    with http(kms(error=code)) as url, pytest.raises(kind, match=f"AWS KMS key alias/ledger: .* gave {code}"):
        kms_key(url).sign(b"x")


def test_aws_kms_out_of_reach() -> None:
    with pytest.raises(Unavailable, match="AWS KMS: Could not connect"):
        kms_key("http://127.0.0.1:9").sign(b"x")


# --- Vault Transit


class Vault:
    """The two calls of Transit that a signer makes (docs: secrets/transit, sign data and read key)."""

    def __init__(self) -> None:
        self.secrets = {1: SECRET}
        self.kind = "ed25519"
        self.status = 200
        self.asked: list[str] = []

    def __call__(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.asked.append(path)
        assert headers["x-vault-token"] == "t"
        if self.status != 200:
            return self.status, b'{"errors": ["no"]}'
        data: dict[str, Any]
        if path == "/v1/transit/keys/ledger":
            keys = {
                str(number): {"public_key": base64.b64encode(secret.public_key().public_bytes_raw()).decode()}
                for number, secret in self.secrets.items()
            }
            data = {"type": self.kind, "latest_version": max(self.secrets), "keys": keys}
        else:
            assert path == "/v1/transit/sign/ledger"
            asked = json.loads(body)
            signature = self.secrets[asked["key_version"]].sign(base64.b64decode(asked["input"]))
            data = {"signature": f"vault:v{asked['key_version']}:{base64.b64encode(signature).decode()}"}
        return 200, json.dumps({"data": data}).encode()


@contextmanager
def vault_key(vault: Vault, **options: Any) -> Iterator[VaultKey]:
    with http(vault) as url, httpx.Client(timeout=10, trust_env=False) as client:
        yield VaultKey(url, "transit", "ledger", "t", client, **options)


def test_vault_signs() -> None:
    with vault_key(Vault()) as key:
        signs(key, PUBLIC)


def test_a_key_that_vault_rotates_meanwhile_stays_the_same_key() -> None:
    vault = Vault()
    with vault_key(vault) as key:
        before = key.public_key
        vault.secrets[2] = Ed25519PrivateKey.generate()
        signs(key, before)
    with vault_key(vault) as key:
        assert key.public_key != before
    with vault_key(vault, version=1) as key:
        assert key.public_key == before


@pytest.mark.parametrize(("status", "kind"), [(403, ConfigurationError), (404, ConfigurationError), (503, Unavailable)])
def test_vault_that_says_no(status: int, kind: type[Exception]) -> None:
    vault = Vault()
    vault.status = status
    with vault_key(vault) as key, pytest.raises(kind, match=f"answered with HTTP status {status}"):
        key.sign(b"x")


def test_a_vault_key_of_another_kind() -> None:
    vault = Vault()
    vault.kind = "ecdsa-p256"
    with vault_key(vault) as key, pytest.raises(ConfigurationError, match="of type ecdsa-p256, expected ed25519"):
        _ = key.public_key
    with vault_key(Vault(), version=7) as key, pytest.raises(ConfigurationError, match="has no version 7"):
        _ = key.public_key


# --- PKCS#11


def softhsm() -> tuple[Path, str]:
    """SoftHSM's library and its tool; Debian's package is installed where we may."""
    install("softhsm2-util", "softhsm2")
    tool = shutil.which("softhsm2-util")
    library = next((path for path in Path("/usr/lib").rglob("libsofthsm2.so")), None)
    if tool is None or library is None:
        pytest.skip("neither SoftHSM nor a way to install it: apt install softhsm2")
    return library, tool


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A token with an Edwards key pair ``ledger``; the library."""
    library, tool = softhsm()
    folder = tmp_path_factory.mktemp("hsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    made = [tool, "--init-token", "--free", "--label", "audit", "--pin", "1234", "--so-pin", "5678"]
    subprocess.run(made, check=True, capture_output=True)
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    session = pkcs11.lib(str(library)).get_token(token_label="audit").open(user_pin="1234", rw=True)
    curve = encode_named_curve_parameters("1.3.101.112")
    domain = session.create_domain_parameters(
        pkcs11.KeyType.EC_EDWARDS, {pkcs11.Attribute.EC_PARAMS: curve}, local=True
    )
    domain.generate_keypair(mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN, label="ledger", store=True)
    session.close()
    yield library
    del os.environ["SOFTHSM2_CONF"]


def test_an_hsm_signs(token: Path) -> None:
    from signer.custody.pkcs11 import Pkcs11Key

    key = Pkcs11Key(token, "audit", "ledger", "1234")
    signs(key, key.public_key)
    assert len(key.public_key) == 32


@pytest.mark.parametrize(
    ("name", "label", "pin", "words"),
    [
        ("nobody", "ledger", "1234", "there is no token nobody"),
        ("audit", "other", "1234", "holds no Edwards key pair with label other"),
    ],
)
def test_an_hsm_without_it(token: Path, name: str, label: str, pin: str, words: str) -> None:
    from signer.custody.pkcs11 import Pkcs11Key

    with pytest.raises(ConfigurationError, match=words):
        _ = Pkcs11Key(token, name, label, pin).public_key
