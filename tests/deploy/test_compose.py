"""The compose file and the image, as far as they can be judged without an engine that runs containers."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import kafka_broker
import pytest
import s3_server
import yaml
from compose_file import COMPOSE, DEPLOY, FILLED, Unset, compose, environment, ours, variables

from affidavit.cli.main import run
from affidavit.cli.reference import commands
from affidavit.layout import Layout
from affidavit.settings import load
from schemas.errors import ConfigurationError

ROOT = DEPLOY.parent
DOCUMENT = compose()
SERVICES: dict[str, Any] = DOCUMENT["services"]
OURS = ours(DOCUMENT)
ROLES = {name: one for name, one in OURS.items() if name not in ("bucket", "init", "cli")}
JOBS = ("bucket", "init")
EXAMPLE = (DEPLOY / ".env.example").read_text()


def test_every_role_runs() -> None:
    commands_run = {tuple(one["command"]) for one in ROLES.values()}
    assert commands_run == {
        ("run", "collector"),
        ("run", "poller"),
        ("run", "proxy"),
        ("run", "signer"),
        ("run", "sink", "archive"),
        ("run", "sink", "clickhouse"),
    }
    for command in commands_run:
        count = sum(
            one.get("deploy", {}).get("replicas", 1) for one in ROLES.values() if tuple(one["command"]) == command
        )
        assert count == 2, f"{command} runs {count} times"


@pytest.mark.parametrize("name", [name for name in OURS if name != "bucket"])
def test_the_settings_of_every_service_are_accepted(name: str, tmp_path: Path) -> None:
    settings = load(Layout(tmp_path), environment(OURS[name]))
    assert settings.deployment.name == FILLED["DEPLOYMENT_NAME"]
    assert (settings.bus.kafka, settings.objects.endpoint) == ("kafka:9092", "http://s3:8333")
    if "collector" in name:
        assert (settings.collector.host, settings.collector.port) == ("0.0.0.0", 4318)
    with pytest.raises(ConfigurationError, match="unknown variable AFFIDAVIT_BUS_KAFKAS, did you mean"):
        load(Layout(tmp_path), environment(OURS[name]) | {"AFFIDAVIT_BUS_KAFKAS": "kafka:9092"})


def test_all_of_ours_agree_on_what_they_share() -> None:
    own = {
        f"AFFIDAVIT_{server}_{field}"
        for server in ("COLLECTOR", "GRPC", "PROXY")
        for field in ("HOST", "PORT", "BEHIND_TLS_PROXY")
    }
    shared = {
        tuple(sorted((key, value) for key, value in environment(one).items() if key not in own))
        for name, one in OURS.items()
        if name != "bucket"
    }
    assert len(shared) == 1


def test_every_command_is_one_of_ours() -> None:
    known = {name.removeprefix("affidavit ") for name, _ in commands()}
    for name, one in OURS.items():
        if name == "bucket":
            assert one["entrypoint"] == ["python", "-c"]
            compile(one["command"][0], "compose.yaml", "exec")
        elif one["command"] != ["--help"]:
            assert one["command"][0] in known
            assert "entrypoint" not in one


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_to_a_version(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"[a-z0-9/-]+:v?\d+(\.\d+)+", image), image


def test_servers_are_of_the_versions_that_are_tested() -> None:
    engine = re.search(r"^chdb-core==(\d+\.\d+)\.", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert engine is not None
    assert SERVICES["clickhouse"]["image"].endswith(f":{engine[1]}")
    assert SERVICES["kafka"]["image"].endswith(f":{kafka_broker.VERSION}")
    assert SERVICES["s3"]["image"].endswith(f":{s3_server.VERSION}")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {one["image"] for one in OURS.values()} == {f"affidavit:{version}"}


def test_it_refuses_to_start_without_each_secret() -> None:
    required = {name for name, (how, _) in variables().items() if how == "?"}
    assert required == set(FILLED)
    for name in required:
        with pytest.raises(Unset, match=f"{name}: set it in .env"):
            compose(FILLED | {name: ""})


def test_no_secret_has_a_value_of_its_own() -> None:
    """In the file each is a variable without default; in the example each is empty."""
    text = COMPOSE.read_text()
    for line in text.splitlines():
        if re.search(r"(PASSWORD|SECRET|TOKEN|ACCESS_KEY\w*):", line) and not line.strip().startswith("#"):
            assert re.search(r"\$\{\w+:\?", line), line
    assert all(how in "-?" for how, _ in variables().values())
    assert not [
        name for name, (how, _) in variables().items() if how == "-" and re.search("PASSWORD|SECRET|TOKEN", name)
    ]
    values = dict(line.split("=", 1) for line in EXAMPLE.splitlines() if line and not line.startswith("#"))
    assert set(values) == set(FILLED) | {"DEPLOYMENT_SHARDS"}
    assert {name for name, value in values.items() if value} == {"DEPLOYMENT_SHARDS"}


def test_only_what_senders_and_readers_need_is_published_and_on_loopback() -> None:
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert set(published) == {"collector-1", "collector-2", "proxy-1", "proxy-2", "clickhouse", "grafana"}
    ports = [port for some in published.values() for port in some]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


@pytest.mark.parametrize("name", SERVICES)
def test_health_is_known(name: str) -> None:
    one = SERVICES[name]
    check = one["healthcheck"]
    if name in (*JOBS, "cli"):
        assert check == {"disable": True}
    else:
        assert check["test"][0] in ("CMD", "CMD-SHELL")
    for other, how in one.get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other in JOBS else "service_healthy"
        assert how == {"condition": wanted}, f"{name} on {other}"


def test_roles_wait_for_init_and_init_for_the_servers() -> None:
    for name, one in ROLES.items():
        assert {"init", "kafka", "postgres"} <= set(one["depends_on"]), name
    assert "clickhouse" in ROLES["clickhouse-sink"]["depends_on"]
    assert {"bucket", "kafka", "postgres"} == set(SERVICES["init"]["depends_on"])


@pytest.mark.parametrize("name", OURS)
def test_ours_run_confined(name: str) -> None:
    one = OURS[name]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["stop_grace_period"] == "60s"
    assert "privileged" not in one
    assert "user" not in one


def test_only_init_may_write_the_keys() -> None:
    """What a role writes below its data directory: locks, which die with it, and a collector's spool, its own."""
    for name, one in OURS.items():
        volumes = one.get("volumes", [])
        if name == "init":
            assert volumes == ["deployment:/data"]
        elif name != "bucket":
            assert volumes[0] == "deployment:/data:ro"
            assert any(mount.startswith("/data/run:") for mount in one["tmpfs"])
    spools = {name: [volume for volume in one["volumes"] if "spool" in volume] for name, one in ROLES.items()}
    assert {name: some for name, some in spools.items() if some} == {
        "collector-1": ["spool-1:/data/spool"],
        "collector-2": ["spool-2:/data/spool"],
        "proxy-1": ["spool-3:/data/spool"],
        "proxy-2": ["spool-4:/data/spool"],
    }
    assert all("deploy" not in ROLES[name] for name, some in spools.items() if some)


def test_init_takes_the_volume_as_the_image_makes_it(tmp_path: Path) -> None:
    """An empty volume gets what the image has at that place: the folders on which others mount theirs."""
    for name in ("run", "spool"):
        (tmp_path / name).mkdir()
    assert run(["init", "--data", str(tmp_path)]) == 0


def test_every_volume_is_declared_and_used() -> None:
    used = {
        volume.split(":")[0]
        for one in SERVICES.values()
        for volume in one.get("volumes", [])
        if not volume.startswith(".")
    }
    assert used == set(DOCUMENT["volumes"])
    for one in SERVICES.values():
        for volume in one.get("volumes", []):
            if volume.startswith("."):
                assert (DEPLOY / volume.split(":")[0]).exists(), volume
                assert volume.endswith(":ro")


def test_everybody_is_watched() -> None:
    scrape = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())
    [job] = scrape["scrape_configs"]
    assert job["job_name"] == "affidavit"  # which the rules expect
    [found] = job["dns_sd_configs"]
    assert set(found["names"]) == set(ROLES)
    ports = {environment(one)["AFFIDAVIT_MONITOR_PORT"] for one in ROLES.values()}
    assert ports == {str(found["port"])}
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{SERVICES['prometheus']['secrets'][0]}"
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/affidavit.yaml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    assert f"./grafana/affidavit.json:{folder}/affidavit.json:ro" in SERVICES["grafana"]["volumes"]
    assert json.loads((DEPLOY / "grafana/affidavit.json").read_text())["uid"] == "affidavit"
    assert {one["profiles"][0] for one in (SERVICES["prometheus"], SERVICES["grafana"])} == {"watch"}


# --- the image


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile: each instruction with its arguments, lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def test_the_image_is_made_of_what_the_wheel_is_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = [shlex.split(rest) for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    sources = [source for words in copied for source in words[:-1]]
    assert all((ROOT / source).exists() for source in sources)
    folders = {source for source in sources if (ROOT / source).is_dir()}
    assert folders == set(project["tool"]["uv"]["build-backend"]["module-name"])
    assert all(words[:-1] == [words[-1]] for words in copied if words[0] in folders)
    files = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml", "constraints.txt"}
    assert set(sources) - folders == files
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split("\n")
    assert {line[1:] for line in ignored if line.startswith("!")} == set(sources)
    extras = dict(rest.split("=") for word, rest in instructions() if word == "ARG")["EXTRAS"]
    assert extras in project["project"]["optional-dependencies"]


def test_the_image_runs_as_nobody_in_particular() -> None:
    words = [word for word, _ in instructions()]
    last_from = len(words) - 1 - words[::-1].index("FROM")
    rest = instructions()[last_from:]
    user = next(rest for word, rest in rest if word == "USER")
    assert user == "affidavit"
    made = next(rest for word, rest in rest if word == "RUN")
    assert "--uid 10001" in made
    for mount in OURS["signer"]["tmpfs"]:
        if mount.startswith("/data"):
            assert "uid=10001,gid=10001" in mount
            assert mount.split(":")[0] in made
    assert "/data/spool" in made
    assert ("ENTRYPOINT", '["affidavit"]') in rest
    base = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG")["PYTHON"]
    assert re.match(r"3\.1\d\.\d+-slim", base)


def test_the_page_tells_of_everything_in_the_file() -> None:
    page = (ROOT / "docs/deployment.md").read_text()
    for name in (*SERVICES, *DOCUMENT["volumes"], *variables()):
        assert f"`{name}`" in page, f"{name} is not in docs/deployment.md"
