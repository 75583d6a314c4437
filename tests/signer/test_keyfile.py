"""The signing key in its file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from schemas.errors import ConfigurationError, MalformedInput
from signer.keyfile import create_key, deployment_vkey, load_key, show_key
from signer.note import parse_note, parse_vkey, sign_note, verify_note
from signer.trust import parse_trust


@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_a_key_comes_back_from_its_file(tmp_path: Path, passphrase: bytes | None) -> None:
    path = tmp_path / "keys" / "signer.key"
    made = create_key(path, passphrase)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["signer.key"]
    assert (b"ENCRYPTED" in path.read_bytes()) == (passphrase is not None)
    loaded = load_key(path, passphrase)
    assert loaded.public_key == made.public_key
    assert loaded.sign(b"x") == made.sign(b"x")
    shown = show_key(loaded, "audit.example.com")
    key = parse_vkey(shown.vkey)
    assert (key.name, key.public_key) == ("audit.example.com", made.public_key)
    assert shown.fingerprint.startswith("SHA256:")
    assert len(shown.fingerprint) == len("SHA256:") + 64 + 15
    note = parse_note(sign_note("text\n", "audit.example.com", loaded))
    assert verify_note(note, [key]) == [key]
    assert made.public_key.hex() not in repr(made)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "signer.key"
    create_key(path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="exists already: a signing key is never overwritten"):
        create_key(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["signer.key"]


def test_what_is_left_of_a_crash_does_not_stand_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "signer.key"
    path.with_name("signer.key.new").write_bytes(b"half a k")
    made = create_key(path)
    assert load_key(path).public_key == made.public_key
    assert os.listdir(tmp_path) == ["signer.key"]


def test_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "signer.key"
    with pytest.raises(ConfigurationError, match="no such file or directory; make one with affidavit keys init"):
        load_key(path)
    create_key(path, b"secret")
    with pytest.raises(ConfigurationError, match="needs a passphrase"):
        load_key(path)
    with pytest.raises(ConfigurationError, match="does not open with this passphrase"):
        load_key(path, b"other")
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"has mode 0640, expected 0600: chmod 600"):
        load_key(path, b"secret")
    path.write_bytes(b"-----BEGIN nothing-----\n")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="is not a PEM PKCS#8 key"):
        load_key(path)
    other = generate_private_key(SECP256R1())
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(other.private_bytes(*pem))
    with pytest.raises(ConfigurationError, match="is of another algorithm, expected Ed25519"):
        load_key(path)
    path.unlink()
    create_key(path)
    with pytest.raises(ConfigurationError, match="is not encrypted, so leave the passphrase away"):
        load_key(path, b"secret")


def test_trust(tmp_path: Path) -> None:
    one, two = create_key(tmp_path / "one"), create_key(tmp_path / "two")
    vkeys = [deployment_vkey(key, "audit.example.com") for key in (one, two)]
    trust = parse_trust(vkeys)
    assert trust.public_keys == (one.public_key, two.public_key)
    assert {key.name for key in trust.keys("audit.example.com/events/0/2026q4")} == {
        "audit.example.com/events/0/2026q4"
    }
    with pytest.raises(MalformedInput, match="expected one or more Ed25519 keys of one deployment"):
        parse_trust([vkeys[0], deployment_vkey(two, "other.example.com")])
    with pytest.raises(MalformedInput, match="got keys of nobody"):
        parse_trust([])
    with pytest.raises(MalformedInput, match="got deployment name"):
        deployment_vkey(one, "audit example")
