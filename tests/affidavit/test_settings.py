"""Settings: where a value comes from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from affidavit import settings
from affidavit.layout import Layout
from schemas.errors import ConfigurationError


def write(layout: Layout, text: str) -> None:
    layout.config.write_text(text)
    layout.config.chmod(0o600)


def test_defaults_need_no_file(tmp_path: Path) -> None:
    read = settings.load(Layout(tmp_path), {})
    assert (read.collector.port, read.query.port, read.collector.host) == (4318, 8123, "127.0.0.1")


def test_environment_wins_over_file(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write(layout, "[collector]\nport = 5000\nmax_body_bytes = 2048\n")
    read = settings.load(layout, {"AFFIDAVIT_COLLECTOR_PORT": "6000", "PATH": "/bin"})
    assert (read.collector.port, read.collector.max_body_bytes) == (6000, 2048)


def test_initial_config_reads_back(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    deployment = settings.Deployment(name="audit.example.com", shards=3)
    write(layout, settings.initial_config(deployment))
    assert settings.load(layout, {}) == settings.Settings(deployment=deployment)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[colector]\nport = 1\n", r"colector: unknown setting, did you mean collector\?"),
        ("[collector]\nprot = 1\n", r"collector\.prot: unknown setting, did you mean port\?"),
        ("[collector]\nport = 70000\n", r"collector\.port: .*65535"),
        ("[collector\n", "is not valid TOML"),
        ('[collector]\nhost = "0.0.0.0"\n', "collector: host 0.0.0.0 is not a loopback address"),
        ("[collector]\nport = 9000\n[query]\nport = 9000\n", "collector.port and query.port are both 9000"),
        ('[deployment]\nname = "two words"\n', "deployment.name: got 'two words'"),
        ('[deployment]\nname = "a/../b"\n', r"deployment.name: got 'a/\.\./b'"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    layout = Layout(tmp_path)
    write(layout, text)
    with pytest.raises(ConfigurationError, match=says):
        settings.load(layout, {})


def test_a_network_address_is_accepted_behind_a_tls_proxy(tmp_path: Path) -> None:
    environ = {"AFFIDAVIT_COLLECTOR_HOST": "0.0.0.0", "AFFIDAVIT_COLLECTOR_BEHIND_TLS_PROXY": "true"}
    assert settings.load(Layout(tmp_path), environ).collector.host == "0.0.0.0"


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("AFFIDAVIT_COLLECTOR_PROT", r"did you mean AFFIDAVIT_COLLECTOR_PORT\?"),
        ("AFFIDAVIT_NONSENSE", "unknown variable AFFIDAVIT_NONSENSE"),
    ],
)
def test_an_unknown_variable_is_refused(tmp_path: Path, variable: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        settings.load(Layout(tmp_path), {variable: "1"})


def test_a_bad_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^AFFIDAVIT_QUERY_PORT: .*integer"):
        settings.load(Layout(tmp_path), {"AFFIDAVIT_QUERY_PORT": "http"})


def test_a_file_that_others_can_change_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write(layout, "")
    layout.config.chmod(0o666)
    with pytest.raises(ConfigurationError, match="run chmod 600"):
        settings.load(layout, {})


def test_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings.data_directory(Path("given"), {"AFFIDAVIT_DATA": "/elsewhere"}).root == tmp_path / "given"
    assert settings.data_directory(None, {"AFFIDAVIT_DATA": "/elsewhere"}).root == Path("/elsewhere")
    assert settings.data_directory(None, {}).root == tmp_path / "affidavit-data"


def test_every_field_is_documented() -> None:
    for name in settings.Settings.model_fields:
        model = settings.section_model(name)
        assert model.__doc__
        for field, info in model.model_fields.items():
            assert info.description, f"{name}.{field} says nothing of itself"


WEBHOOK = {"AFFIDAVIT_WEBHOOKS_HELICONE_PROD_TENANT": "acme", "AFFIDAVIT_WEBHOOKS_HELICONE_PROD_GATEWAY": "helicone"}


def test_a_section_of_several_is_named_in_the_file_or_in_the_environment(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write(layout, '[webhooks.helicone_prod]\ntenant = "acme"\ngateway = "h"\nsecret = "s1"\n')
    read = settings.load(layout, {"AFFIDAVIT_WEBHOOKS_HELICONE_PROD_FORMER_SECRET": "s0"}).webhooks
    assert list(read) == ["helicone_prod"]
    former = read["helicone_prod"].former_secret
    assert former is not None
    assert (read["helicone_prod"].secret.get_secret_value(), former.get_secret_value()) == ("s1", "s0")
    alone = settings.load(Layout(tmp_path / "none"), WEBHOOK | {"AFFIDAVIT_WEBHOOKS_HELICONE_PROD_SECRET": "s2"})
    assert list(alone.webhooks) == ["helicone-prod"]


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("postgresql://u:p@127.0.0.1/a\n")
    url = settings.load(Layout(tmp_path), {"AFFIDAVIT_CONTROL_URL_FILE": str(secret)}).control.url
    assert url is not None
    assert url.get_secret_value() == "postgresql://u:p@127.0.0.1/a"
    named = {**WEBHOOK, "AFFIDAVIT_WEBHOOKS_HELICONE_PROD_SECRET_FILE": str(secret)}
    assert settings.load(Layout(tmp_path), named).webhooks["helicone-prod"].secret.get_secret_value() == (
        "postgresql://u:p@127.0.0.1/a"
    )


def test_a_secret_of_the_file_may_be_in_another(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    (tmp_path / "s").write_text("shh\n")
    text = f'[monitor]\ntoken_file = "{tmp_path}/s"\n[webhooks.w]\ntenant = "a"\ngateway = "g"\nsecret_file = "%s"\n'
    write(layout, text % f"{tmp_path}/s")
    read = settings.load(layout, {})
    assert read.monitor.token is not None
    assert {read.monitor.token.get_secret_value(), read.webhooks["w"].secret.get_secret_value()} == {"shh"}
    write(layout, text % "/nowhere")
    with pytest.raises(ConfigurationError, match=r"webhooks\.w\.secret_file: cannot read /nowhere"):
        settings.load(layout, {})


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"AFFIDAVIT_WEBHOOKS_SECRET": "x"}, "unknown variable AFFIDAVIT_WEBHOOKS_SECRET, did you mean"),
        ({"AFFIDAVIT_COLLECTOR_PORT_FILE": "x"}, "unknown variable AFFIDAVIT_COLLECTOR_PORT_FILE"),
        ({"AFFIDAVIT_CONTROL_URL_FILE": "/nowhere"}, "AFFIDAVIT_CONTROL_URL_FILE: cannot read /nowhere"),
        (WEBHOOK, r"webhooks\.helicone-prod\.secret: Field required"),
    ],
)
def test_a_bad_variable_of_these_is_refused(tmp_path: Path, environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        settings.load(Layout(tmp_path), environ)
