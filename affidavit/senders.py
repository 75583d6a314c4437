"""From settings to those who send here without a token, or have to be asked. Secrets leave their wrapping here."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from affidavit.sections import FeedSettings
from affidavit.settings import Settings
from collector.routes import Webhook
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collector.catalogue import Options
    from collector.fetching import HttpsFetcher
    from collector.files.tail import Tail
    from collector.gateways import Format
    from collector.ingest import Ingest
    from collector.poll import Feed
    from collector.proxy import ProxyConfig
    from stores.control import Control


def webhook_senders(settings: Settings) -> dict[str, Webhook]:
    """The senders that sign, by name; the secret in force first."""
    return {
        name: Webhook(
            name,
            own.tenant,
            own.gateway,
            tuple(
                secret.get_secret_value().encode() for secret in (own.secret, own.former_secret) if secret is not None
            ),
            own.fail_closed,
        )
        for name, own in settings.webhooks.items()
    }


def gateway_options(settings: Settings) -> Options:
    """What formats have to be given: the keys that open encrypted fields.

    Raises:
        ConfigurationError: a key cannot be read.
    """
    from collector.catalogue import Options
    from collector.cloudflare_keys import load_private_keys

    own = settings.cloudflare
    files = [file for file in (own.key_file, own.former_key_file) if file is not None]
    return Options(cloudflare_decrypt=load_private_keys(files) if files else None)


def make_fetcher(settings: Settings) -> HttpsFetcher | None:
    """What gets the bodies that a webhook refers to."""
    from collector.fetching import FetchLimits, HttpsFetcher

    own = settings.fetch
    if not own.enabled:
        return None
    allowed = tuple(ip_network(one) for one in filter(None, map(str.strip, own.allowed.split(","))))
    return HttpsFetcher(FetchLimits(own.max_bytes, own.seconds, allowed=allowed))


def make_tails(settings: Settings, ingest: Ingest, control: Control, host: str) -> list[Tail]:
    """What follows the files of the settings. ``host`` keeps the places of one machine apart from another's.

    Raises:
        ConfigurationError: a format is not one of ours.
    """
    from collector.files import ControlCursors
    from collector.files.tail import Tail

    cursors = ControlCursors(control)
    return [
        Tail(
            own.path,
            _line_format(name, own.format),
            ingest,
            cursors,
            tenant=own.tenant,
            gateway=own.gateway,
            name=f"{host}/{name}",
        )
        for name, own in settings.files.items()
    ]


def _line_format(name: str, wanted: str) -> Format:
    from collector.catalogue import GATEWAYS, gateway
    from collector.gateways.otlp import OtlpFormat

    found = gateway(wanted)
    lines = [one for one in found.formats if not isinstance(one, OtlpFormat)] if found is not None else []
    if not lines:
        known = [one.name for one in GATEWAYS if not all(isinstance(each, OtlpFormat) for each in one.formats)]
        raise ConfigurationError(f"files.{name}.format: got {wanted!r}, expected one of {', '.join(known)}")
    return lines[0]


def make_feeds(settings: Settings) -> list[Feed]:
    """The sources that have to be asked. Nothing is asked yet.

    Raises:
        ConfigurationError: what is set does not go together, or a client library is missing.
    """
    return [_feed(name, own, settings) for name, own in settings.feeds.items()]


def _feed(name: str, own: FeedSettings, settings: Settings) -> Feed:
    if own.kind in ("anthropic-compliance", "openai-audit"):
        return _listing(name, own)
    if own.kind in ("cloud-logging", "bigquery"):
        return _google(name, own)
    return _objects(name, own, settings)


def _listing(name: str, own: FeedSettings) -> Feed:
    from collector.poll import anthropic_compliance, openai_audit

    assert own.key is not None
    assert own.since is not None
    anthropic = own.kind == "anthropic-compliance"
    make = anthropic_compliance.compliance_feed if anthropic else openai_audit.audit_feed
    return make(
        name,
        own.tenant,
        key=own.key.get_secret_value(),
        begin=int(own.since.timestamp()),
        base_url=own.url or (anthropic_compliance if anthropic else openai_audit).BASE_URL,
        interval=own.interval_seconds,
        proxy=own.proxy,
    )


def _google(name: str, own: FeedSettings) -> Feed:
    from collector.poll import bigquery, cloud_logging
    from collector.poll.google_auth import AccountGrant, GoogleAuth, MachineGrant, parse_account_key

    assert own.since is not None
    begin = int(own.since.timestamp())
    of_rows = own.kind == "bigquery"
    scope = bigquery.SCOPE if of_rows else cloud_logging.SCOPE
    key = parse_account_key(own.key.get_secret_value()) if own.key else None
    auth = GoogleAuth(AccountGrant(key, scope) if key else MachineGrant(scope), proxy=own.proxy)
    if of_rows:
        return bigquery.bigquery_feed(
            name,
            own.tenant,
            table=own.table,
            project=own.project,
            location=own.location,
            begin=begin,
            auth=auth,
            base_url=own.url or bigquery.BASE_URL,
            interval=own.interval_seconds,
            proxy=own.proxy,
        )
    return cloud_logging.cloud_logging_feed(
        name,
        own.tenant,
        resources=tuple(filter(None, map(str.strip, own.resources.split(",")))),
        filter=own.filter,
        begin=begin,
        auth=auth,
        base_url=own.url or cloud_logging.BASE_URL,
        interval=own.interval_seconds,
        proxy=own.proxy,
    )


def _objects(name: str, own: FeedSettings, settings: Settings) -> Feed:
    from collector.poll.object_layout import LAYOUTS
    from collector.poll.objects import ObjectsFeed, Source

    try:
        from collector.poll.s3 import BucketConfig, S3Bucket
    except ImportError as error:
        raise ConfigurationError(f"feeds.{name} reads S3, and {error.name} is missing: install affidavit[s3]") from None
    source = Source(
        name,
        own.tenant,
        own.gateway or own.kind,
        own.prefix,
        LAYOUTS[own.kind],
        int(own.since.timestamp()) if own.since else None,
        int(own.late_hours * 3600),
        tuple(filter(None, map(str.strip, own.body_buckets.split(",")))),
        own.interval_seconds,
    )
    config = BucketConfig(
        own.bucket, own.region or None, own.endpoint or None, own.role_arn or None, own.external_id or None
    )
    return ObjectsFeed(S3Bucket(config), source, _format(own.kind, settings))


def _format(kind: str, settings: Settings) -> Format:
    from collector.catalogue import gateway

    found = gateway(kind)
    assert found is not None
    routes = found.routes_with(gateway_options(settings))
    return routes[0].format


def proxy_config(settings: Settings, folder: Path) -> ProxyConfig:
    """How the proxy behaves, and what is behind it. ``folder`` takes copies of large bodies while they pass."""
    from collector.proxy import UPSTREAMS, Bound, ProxyConfig, Upstream

    own = settings.proxy
    upstreams = tuple(
        Upstream(name, one.url, one.api, Bound(one.tenant, one.gateway) if one.tenant else None)
        for name, one in settings.upstreams.items()
    )
    return ProxyConfig(
        upstreams or UPSTREAMS,
        frozenset(name.strip() for name in own.fail_closed.split(",") if name.strip()),
        own.early_seconds,
        silence_seconds=own.silence_seconds,
        patience_seconds=own.patience_seconds,
        folder=folder,
        fingerprint_key=own.fingerprint_key.get_secret_value().encode() if own.fingerprint_key else None,
        ca_file=own.ca_file,
    )
