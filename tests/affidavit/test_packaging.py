"""The wheel: built, installed into an empty environment, run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"affidavit", "collector", "schemas", "signer", "sinks", "retention", "stores"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what git would hand over: the sources without whatever lies beside them."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(place, source / name)
    build = f"import uv_build; print(uv_build.build_wheel({str(out)!r}))"
    tools = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    built = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, env=tools)
    assert built.returncode == 0, built.stderr
    [made] = out.glob("affidavit-*.whl")
    return made


def test_the_wheel_holds_our_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES
    assert "schemas/avro/record.v1.avsc" in names
    assert any(name.startswith("sinks/clickhouse/sql/") and name.endswith(".sql") for name in names)
    assert any(name.startswith("stores/control/migrations/") for name in names)


def test_the_console_script_runs_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    python = venv / "bin" / "python"
    install = [
        uv,
        "pip",
        "install",
        "--system-certs",
        "--quiet",
        "--python",
        python,
        "-c",
        ROOT / "constraints.txt",
        wheel,
    ]
    subprocess.run(install, check=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    script = venv / "bin" / "affidavit"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([script, *arguments], capture_output=True, text=True, cwd=tmp_path, env=clean)

    version = run("--version")
    assert (version.returncode, version.stdout.split()[0]) == (0, "affidavit")
    made = run("init", "--data", "data", "--name", "audit.example.com")
    assert made.returncode == 0, made.stderr
    shown = run("keys", "show", "--data", "data")
    assert shown.stdout.startswith("audit.example.com+")
    without_engine = run("query", "SELECT 1", "--data", "data")
    assert without_engine.returncode == 3
    where = subprocess.run(
        [python, "-c", "import affidavit, sys; print(affidavit.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean,
    )
    assert str(venv) in where.stdout
