"""Evidence bundles: what is in them, and that the verifier inside finds whatever is changed, without Affidavit."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundle_files import Files, rewritten
from bundle_tampering import TAMPERING, change, flip
from bundles import ABOUT, Bundled, write
from signed_ledger import SHARD

from affidavit.bundle.records import bundled_records
from affidavit.bundle.writer import write_bundle
from schemas.errors import ConfigurationError, EvidenceIncomplete, VerificationError
from schemas.ids import Shard
from schemas.parts import CONTENT
from schemas.record import decode_record, encode_record
from signer.merkle import leaf
from signer.note import VerifierKey
from signer.policy import Revoked, format_policy, policy_of
from signer.tlog_proof import parse_proof, verify_proof
from signer.verify_records import Comparison

STANDALONE = Path(__file__).resolve().parents[2] / "affidavit/bundle/standalone.py"


def verify(path: Path, *options: str | Path) -> tuple[int, dict[str, Any]]:
    """Run the verifier of the bundle as its README says: a file of its own, nothing of ours to import."""
    with zipfile.ZipFile(path) as archive:
        script = archive.read("verify.py").decode() if "verify.py" in archive.namelist() else STANDALONE.read_text()
    command = [sys.executable, "-I", "-c", script, "--json", *map(str, options), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60)
    assert done.returncode in (0, 1, 2), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_bundle_verifies_without_us(bundled: Bundled) -> None:
    code, report = verify(bundled.path, "--policy", bundled.policy)
    assert (code, report["problems"]) == (0, [])
    assert report["policy"] == hashlib.sha256(bundled.policy.read_bytes()).hexdigest()
    assert [record["address"] for record in report["records"]] == [f"events/0@{at}" for at in (0, 7, 255, 256, 299)]
    for record in report["records"]:
        assert record["parts"] == {"metadata": "OK", "content": "OK", "source": "OK"}
        assert record["by"] == "clock, witness"
        assert record["time"] > "2026"
    assert (bundled.summary.records, bundled.summary.unvouched) == (5, 0)
    assert dict(bundled.summary.parts) == {"OK": 15}


def test_no_module_of_ours_is_needed(bundled: Bundled, tmp_path: Path) -> None:
    """In an environment that has nothing but cryptography."""
    venv.create(tmp_path / "bare", with_pip=False)
    site = next((tmp_path / "bare/lib").iterdir()) / "site-packages"
    import _cffi_backend
    import cryptography

    shutil.copytree(Path(cryptography.__file__).parent, site / "cryptography")
    shutil.copy(_cffi_backend.__file__, site)
    cffi = Path(_cffi_backend.__file__).parent / "cffi"
    shutil.copytree(cffi, site / "cffi")
    with zipfile.ZipFile(bundled.path) as archive:
        archive.extractall(tmp_path / "unpacked")
    command = [tmp_path / "bare/bin/python", "verify.py", "--policy", bundled.policy, "."]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / "unpacked", timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("VERIFIED\naudit.example.com: session s-1")


def test_proofs_are_those_of_the_standard(bundled: Bundled) -> None:
    files = Files(bundled.path)
    record = files.records()[1]
    proof = parse_proof(files[record["proof"]])
    key = VerifierKey(record["origin"], bundled.made.world.key.public_key)
    checkpoint = verify_proof(proof, leaf(base64.b64decode(record["entry"])), key)
    assert checkpoint.origin == record["origin"]
    with pytest.raises(VerificationError, match="inclusion of leaf 8 in size 306"):
        verify_proof(proof, leaf(b"something else"), key)
    anchor = record["anchor"]
    cosigned = parse_proof(files[anchor["set_proof"]])
    assert len(cosigned.note.splitlines()) == 6, "three lines, an empty one, the log's and the witness's signature"


def test_the_readme_says_what_it_is(bundled: Bundled) -> None:
    text = Files(bundled.path)["README.txt"].decode()
    assert "5 records of an audit log" in text
    assert "quorum witness and 1 of the authorities clock" in text
    assert "nobody outside" not in text


@pytest.mark.parametrize("what", TAMPERING)
def test_whatever_is_changed_is_found(bundled: Bundled, tmp_path: Path, what: str) -> None:
    """The manifest is made anew, as whoever tampers with a bundle would."""
    work, step, code = TAMPERING[what]
    path = rewritten(bundled.path, tmp_path / "t.zip", work)
    found, report = verify(path, "--policy", bundled.policy)
    assert found == code, report["problems"]
    assert step in {problem["step"] for problem in report["problems"]}, report["problems"]


def test_the_manifest_knows_every_file(bundled: Bundled, tmp_path: Path) -> None:
    path = rewritten(bundled.path, tmp_path / "t.zip", lambda f: f.update({"extra.txt": b"x"}), manifest=False)
    code, report = verify(path)
    assert (code, report["problems"][0]["message"]) == (1, "extra.txt is not in the manifest")
    path = rewritten(bundled.path, tmp_path / "u.zip", lambda f: change(f, "README.txt", b"x"), manifest=False)
    assert "README.txt was changed" in verify(path)[1]["problems"][0]["message"]


def test_a_forged_policy_is_found_by_the_real_one(bundled: Bundled, tmp_path: Path) -> None:
    """Somebody signs another log with another key, and says in the bundle that this key counts."""
    from outside_world import outside
    from signed_ledger import World

    from signer.keyfile import create_key

    world = World()
    world.key = create_key(tmp_path / "forger.key")
    with outside(tmp_path / "forger", world) as forged:
        asyncio.run(forged.live(sets=4))
        path = tmp_path / "forged.zip"
        write(forged, path, [(SHARD, 0)])
    assert verify(path)[0] == 0, "by its own policy"
    code, report = verify(path, "--policy", bundled.policy)
    assert code == 1
    assert "no key of the policy signed its checkpoint" in report["problems"][0]["message"]


def test_parts_without_a_key_are_sealed_and_the_proofs_hold(bundled: Bundled, tmp_path: Path) -> None:
    path = tmp_path / "sealed.zip"
    summary = write(bundled.made, path, [(SHARD, 3)], keys=None)
    assert dict(summary.parts) == {"SEALED": 3}
    code, report = verify(path, "--policy", bundled.policy)
    assert code == 0
    assert report["records"][0]["parts"] == {"metadata": "SEALED", "content": "SEALED", "source": "SEALED"}


def test_without_anchors_a_bundle_says_so(bundled: Bundled, tmp_path: Path) -> None:
    path = tmp_path / "bare.zip"
    summary = write(bundled.made, path, [(SHARD, 3)], policy=policy_of(bundled.made.world.trust))
    assert summary.unvouched == 1
    assert "nobody outside the organisation has vouched yet" in Files(path)["README.txt"].decode()
    assert verify(path)[0] == 0
    assert verify(path, "--policy", bundled.policy)[0] == 2


def test_what_is_not_signed_is_not_exported(bundled: Bundled, tmp_path: Path) -> None:
    path = tmp_path / "early.zip"
    with pytest.raises(EvidenceIncomplete, match="is signed up to offset"):
        write(bundled.made, path, [(SHARD, 0), (SHARD, 10**6)])
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_what_does_not_verify_is_not_disclosed(bundled: Bundled, tmp_path: Path) -> None:
    source = asyncio.run(bundled.made.world.evidence())
    held = source.held[SHARD]
    source.held[SHARD] = [one._replace(record=flip(one.record, -1)) if one.offset == 0 else one for one in held]

    comparison = Comparison(source, bundled.made.world.keys, bundled.made.world.objects.open)
    records = bundled_records(bundled.made.world.objects, bundled.made.policy, comparison, [(SHARD, 0)])
    with pytest.raises(VerificationError, match=r"events/0@0: .* MISMATCH: "):
        write_bundle(tmp_path / "x.zip", records, bundled.made.policy, ABOUT)


def test_a_file_is_never_overwritten(bundled: Bundled) -> None:
    with pytest.raises(ConfigurationError, match="exists already"):
        write(bundled.made, bundled.path, [(Shard("events", 0), 0)])


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06" + bytes(18), b"no zip"])
def test_what_is_no_bundle(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    command = [sys.executable, "-I", STANDALONE, tmp_path / "x.zip"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode in (2, 3)
    assert "Traceback" not in done.stderr


def test_a_revoked_key_counts_for_what_was_vouched_for_before(bundled: Bundled, tmp_path: Path) -> None:
    for since, code in ((2**41, 0), (1, 1)):
        revoked = (Revoked(bundled.made.world.key.public_key, since),)
        policy = tmp_path / f"policy-{code}"
        policy.write_bytes(format_policy(replace(bundled.made.policy, revoked=revoked)))
        found, report = verify(bundled.path, "--policy", policy)
        assert found == code
        assert all("its key is revoked since 1970" in one["message"] for one in report["problems"])


class Everything:
    """Manifests that cover the content of every record."""

    def covers(self, origin: str, index: int, part_type: int) -> bool:
        return part_type == CONTENT


def test_proofs_survive_the_destruction_of_a_part(bundled: Bundled, tmp_path: Path) -> None:
    """The content is gone from the destination, as a manifest says; all else of the record is proven as before."""
    source = asyncio.run(bundled.made.world.evidence())
    stripped = []
    for one in source.held[SHARD]:
        record = decode_record(one.record)
        parts = tuple(part for part in record.parts if part.type != CONTENT)
        stripped.append(one._replace(record=encode_record(replace(record, parts=parts))))
    source.held[SHARD] = stripped
    comparison = Comparison(source, bundled.made.world.keys, bundled.made.world.objects.open, Everything())
    records = bundled_records(bundled.made.world.objects, bundled.made.policy, comparison, [(SHARD, 7), (SHARD, 8)])
    summary = write_bundle(tmp_path / "erased.zip", records, bundled.made.policy, ABOUT)
    assert dict(summary.parts) == {"OK": 4, "ERASED": 2}
    code, report = verify(tmp_path / "erased.zip", "--policy", bundled.policy)
    assert (code, report["problems"]) == (0, [])
    assert report["records"][0]["parts"] == {"metadata": "OK", "content": "ERASED", "source": "OK"}
    with zipfile.ZipFile(tmp_path / "erased.zip") as archive:
        assert not any(name.endswith("content.json") for name in archive.namelist())
