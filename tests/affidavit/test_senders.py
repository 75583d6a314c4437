"""Senders from settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_google import key_file
from pydantic import SecretStr, ValidationError

from affidavit.sections import (
    CloudflareSettings,
    FeedSettings,
    FetchSettings,
    ProxySettings,
    UpstreamSettings,
    WebhookSettings,
)
from affidavit.senders import gateway_options, make_feeds, make_fetcher, proxy_config, webhook_senders
from affidavit.settings import Settings
from collector.proxy import Bound
from collector.routes import Webhook
from schemas.errors import ConfigurationError


def test_a_webhook_has_the_secret_in_force_and_the_one_before() -> None:
    own = WebhookSettings(tenant="acme", gateway="h", secret=SecretStr("new"), former_secret=SecretStr("old"))
    made = webhook_senders(Settings(webhooks={"prod": own}))
    assert made == {"prod": Webhook("prod", "acme", "h", (b"new", b"old"))}
    assert "new" not in repr(made)


@pytest.mark.parametrize(
    ("kind", "format_name"),
    [("bedrock", "bedrock"), ("litellm", "litellm"), ("cloudflare", "cloudflare"), ("vertex", "vertex")],
)
def test_a_feed_over_a_bucket_reads_its_kind(kind: str, format_name: str) -> None:
    own = FeedSettings.model_validate(
        {"kind": kind, "tenant": "acme", "bucket": "b", "region": "eu-west-1", "body_buckets": "c, d"}
    )
    (feed,) = make_feeds(Settings(feeds={"logs": own}))
    assert (feed.name, feed.tenant, feed.gateway, feed.format.name) == ("logs", "acme", kind, format_name)


@pytest.mark.parametrize("kind", ["anthropic-compliance", "openai-audit"])
def test_a_feed_over_an_api_has_its_key_and_its_beginning(kind: str) -> None:
    own = FeedSettings.model_validate(
        {"kind": kind, "tenant": "acme", "key": "sk-0123456789", "since": "2026-11-01T00:00:00Z"}
    )
    (feed,) = make_feeds(Settings(feeds={"api": own}))
    assert (feed.name, feed.tenant, feed.interval) == ("api", "acme", 60.0)
    assert "sk-0123456789" not in repr(own)


@pytest.mark.parametrize(
    "settings",
    [{"kind": "cloud-logging", "resources": "projects/a, folders/1"}, {"kind": "bigquery", "table": "p.d.t"}],
)
def test_a_feed_over_google_has_a_key_or_the_account_of_the_machine(settings: dict[str, str]) -> None:
    settings |= {"tenant": "acme", "since": "2026-11-01T00:00:00Z"}
    (feed,) = make_feeds(Settings(feeds={"g": FeedSettings.model_validate(settings)}))
    assert (feed.name, feed.tenant, feed.gateway, feed.format.name) == ("g", "acme", "vertex", "vertex")
    own = FeedSettings.model_validate({**settings, "key": key_file()})
    assert len(make_feeds(Settings(feeds={"g": own}))) == 1
    assert "PRIVATE KEY" not in repr(own)
    with pytest.raises(ConfigurationError, match="not that of a service account"):
        make_feeds(Settings(feeds={"g": FeedSettings.model_validate({**settings, "key": "AIza-something"})}))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "cloud-logging"}, "kind cloud-logging needs resources and since"),
        ({"kind": "bigquery", "since": "2026-11-01T00:00:00Z"}, "kind bigquery needs table"),
        ({"kind": "bedrock"}, "kind bedrock needs bucket"),
        ({"kind": "openai-audit"}, "kind openai-audit needs key and since"),
        ({"kind": "openai-audit", "key": "k", "since": "2026-11-01T00:00:00"}, "append Z for UTC"),
    ],
)
def test_a_feed_that_lacks_what_it_needs(settings: dict[str, str], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        FeedSettings.model_validate({"tenant": "acme", **settings})


def test_the_proxy_has_its_upstreams_or_the_usual_ones(tmp_path: Path) -> None:
    usual = proxy_config(Settings(), tmp_path)
    assert [one.name for one in usual.upstreams] == ["anthropic", "openai"]
    own = {
        "corp": UpstreamSettings(url="https://llm.example.com", api="openai"),
        "local": UpstreamSettings(url="http://127.0.0.1:1", tenant="acme"),
    }
    config = proxy_config(Settings(upstreams=own, proxy=ProxySettings(fail_closed="acme, other")), tmp_path)
    assert config.fail_closed == frozenset({"acme", "other"})
    assert [one.bound for one in config.upstreams] == [None, Bound("acme", "proxy")]


def test_cloudflare_keys_are_read_and_a_missing_one_is_named(tmp_path: Path) -> None:
    assert gateway_options(Settings()).cloudflare_decrypt is None
    with pytest.raises(ConfigurationError, match=r"none\.pem"):
        gateway_options(Settings(cloudflare=CloudflareSettings(key_file=tmp_path / "none.pem")))


def test_what_may_be_fetched() -> None:
    assert make_fetcher(Settings(fetch=FetchSettings(enabled=False))) is None
    assert make_fetcher(Settings(fetch=FetchSettings(allowed="10.1.0.0/16, fd00::/8"))) is not None
    with pytest.raises(ValidationError, match="does not appear to be an IPv4 or IPv6 network"):
        FetchSettings(allowed="intranet")
