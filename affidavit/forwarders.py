"""The sinks into other systems that a deployment may run: who is wanted, and how each is made.

A new one is a file or folder in ``sinks/``, a section of the settings, a line in :data:`FORWARDERS`, and its test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.errors import ConfigurationError
from schemas.ids import EVENTS, Shard
from sinks.contract import Limits

if TYPE_CHECKING:
    from affidavit.sections_forwarding import OcsfSettings, SyslogSettings, TlsFields
    from affidavit.settings import Settings
    from affidavit.wiring import Wiring
    from sinks.contract import Sink
    from sinks.description import Description
    from sinks.forwarding import Encode, Transport
    from sinks.kept import Cursors
    from sinks.ocsf.http import HttpConfig
    from sinks.splunk.config import HecConfig
    from sinks.splunk.search import SplunkSearch
    from sinks.syslog.stream import StreamConfig
    from sinks.tls import Tls

SPLUNK, OCSF, SYSLOG = "splunk", "ocsf", "syslog"

FORWARDED_RECORDS, FORWARDED_BYTES = 2_000, 8 << 20
"""Of one batch to destinations that take lines."""

_NO_SHARD = Shard(EVENTS, 0)


@dataclass(frozen=True, slots=True)
class Forwarder:
    """One sink.

    Attributes:
        setting: what makes a deployment want it.
        wanted: whether it is set.
        make: the sink, of the parts of a process.
        probe: asks the destination whether it would take records, without sending one: ``""``, or what is wrong.
    """

    setting: str
    wanted: Callable[[Settings], bool]
    make: Callable[[Wiring, Cursors], Sink]
    probe: Callable[[Settings], str]


def make_forwarder(wiring: Wiring, name: str, cursors: Cursors | None = None) -> Sink:
    """The sink of that name, with its positions in ``cursors``: the control database, where none are given.

    Raises:
        ConfigurationError: the settings do not say where it leads.
    """
    one = FORWARDERS[name]
    if not one.wanted(wiring.settings):
        raise ConfigurationError(f"the sink {name} leads nowhere: set {one.setting} (docs/{name}.md)")
    return one.make(wiring, cursors if cursors is not None else wiring.control)


def wanted_forwarders(settings: Settings) -> tuple[str, ...]:
    """Those that the settings lead somewhere."""
    return tuple(name for name, one in FORWARDERS.items() if one.wanted(settings))


def hec_config(settings: Settings) -> HecConfig:
    """The HTTP Event Collector of ``settings.splunk``."""
    from sinks.splunk.config import HecConfig, Route
    from sinks.splunk.envelope import check_route
    from sinks.tls import Secret

    own = settings.splunk
    routes = [Route(one.index, one.match) for one in own.routes]
    for route in routes:
        try:
            check_route(route)
        except ValueError as error:
            raise ConfigurationError(f"splunk.routes: {error}") from None
    return HecConfig(
        own.url.rstrip("/"),
        Secret(own.token.get_secret_value() if own.token else "", own.token_file),
        settings.deployment.name,
        ack=own.ack,
        index=own.index,
        routes=routes,
        host=own.host,
        content=own.content,
        tls=_tls(own),
        ack_seconds=own.ack_seconds,
        poll_seconds=own.poll_seconds,
        timeout=own.timeout_seconds,
        max_body_bytes=own.max_body_bytes,
        max_event_bytes=own.max_event_bytes,
        max_unconfirmed=own.max_unconfirmed,
        concurrency=own.concurrency,
    )


def splunk_search(settings: Settings) -> SplunkSearch | None:
    """The search of ``settings.splunk``; ``None`` where none is set."""
    from sinks.splunk.envelope import indexes
    from sinks.splunk.search import SplunkSearch
    from sinks.tls import Secret

    own = settings.splunk
    if not own.search_url:
        return None
    token = Secret(own.search_token.get_secret_value() if own.search_token else "", own.search_token_file)
    found = indexes(hec_config(settings))
    return SplunkSearch(own.search_url.rstrip("/"), token, settings.deployment.name, found, _tls(own))


def _splunk(wiring: Wiring, cursors: Cursors) -> Sink:
    from sinks.splunk.sink import SplunkSink

    settings = wiring.settings
    return SplunkSink(
        hec_config(settings),
        wiring.keys,
        cursors,
        fetch=wiring.objects.open,
        search=splunk_search(settings) if settings.splunk.ack == "reconcile" else None,
        linger=settings.splunk.linger_seconds,
    )


def _splunk_health(settings: Settings) -> str:
    from sinks.splunk.health import ask_health

    return ask_health(hec_config(settings))


def _ocsf(wiring: Wiring, cursors: Cursors) -> Sink:
    from affidavit import version
    from sinks.ocsf.event import encode
    from sinks.ocsf.files import FileTransport
    from sinks.ocsf.http import HttpTransport

    own, name = wiring.settings.ocsf, wiring.settings.deployment.name

    def connect(shard: Shard) -> Transport:
        if own.directory is not None:
            return FileTransport(own.directory, shard)
        return HttpTransport(_ocsf_http(wiring.settings))

    def line(description: Description) -> bytes:
        return encode(description, name, version(), content=own.content)

    return _forwarding(wiring, cursors, OCSF, own, line, connect)


def _ocsf_http(settings: Settings) -> HttpConfig:
    from sinks.ocsf.http import HttpConfig
    from sinks.tls import Secret

    own = settings.ocsf
    token = Secret(own.token.get_secret_value() if own.token else "", own.token_file)
    return HttpConfig(own.url, token, _tls(own), own.timeout_seconds, own.max_body_bytes)


def _ocsf_probe(settings: Settings) -> str:
    from sinks.ocsf.files import FileTransport
    from sinks.ocsf.http import HttpTransport

    directory = settings.ocsf.directory
    transport = FileTransport(directory, _NO_SHARD) if directory else HttpTransport(_ocsf_http(settings))
    try:
        return transport.probe()
    finally:
        transport.close()


def _syslog(wiring: Wiring, cursors: Cursors) -> Sink:
    import os
    import socket

    from affidavit import version
    from sinks.syslog.cef import encode, severity
    from sinks.syslog.message import INFORMATIONAL, NOTICE, WARNING, message
    from sinks.syslog.stream import StreamTransport

    own, host, process = wiring.settings.syslog, socket.gethostname(), str(os.getpid())

    def line(description: Description) -> bytes:
        weight = severity(description)
        return message(
            encode(description, version(), content=own.content),
            severity=WARNING if weight >= 8 else NOTICE if weight >= 5 else INFORMATIONAL,
            time_us=description.message.time_ms * 1000,
            host=host,
            app="affidavit",
            process=process,
            kind=description.metadata["kind"],
            data={
                "deployment": wiring.settings.deployment.name,
                "shard": str(description.message.shard),
                "offset": str(description.message.offset),
                "event": description.event_id,
            },
            enterprise=own.enterprise_id,
            max_bytes=own.max_message_bytes,
        )

    return _forwarding(wiring, cursors, SYSLOG, own, line, lambda shard: StreamTransport(_stream(wiring.settings)))


def _stream(settings: Settings) -> StreamConfig:
    from sinks.syslog.stream import StreamConfig

    own = settings.syslog
    return StreamConfig(own.host, own.port, _tls(own) if own.tls else None, own.timeout_seconds)


def _syslog_probe(settings: Settings) -> str:
    from sinks.syslog.stream import StreamTransport

    transport = StreamTransport(_stream(settings))
    try:
        return transport.probe()
    finally:
        transport.close()


def _forwarding(
    wiring: Wiring,
    cursors: Cursors,
    name: str,
    own: OcsfSettings | SyslogSettings,
    line: Encode,
    connect: Callable[[Shard], Transport],
) -> Sink:
    """A sink of lines, of the parts of a process."""
    from sinks.forwarding import ForwardingSink

    limits = Limits(FORWARDED_RECORDS, FORWARDED_BYTES, own.linger_seconds)
    fetch = wiring.objects.open
    return ForwardingSink(name, line, connect, wiring.keys, cursors, fetch=fetch, limits=limits, content=own.content)


def _tls(own: TlsFields) -> Tls:
    from sinks.tls import Tls

    password = own.key_password.get_secret_value() if own.key_password else ""
    return Tls(own.ca_file, own.cert_file, own.key_file, password)


FORWARDERS: dict[str, Forwarder] = {
    SPLUNK: Forwarder("splunk.url", lambda settings: bool(settings.splunk.url), _splunk, _splunk_health),
    OCSF: Forwarder(
        "ocsf.url or ocsf.directory",
        lambda settings: bool(settings.ocsf.url or settings.ocsf.directory),
        _ocsf,
        _ocsf_probe,
    ),
    SYSLOG: Forwarder("syslog.host", lambda settings: bool(settings.syslog.host), _syslog, _syslog_probe),
}
"""In the order in which ``up`` starts them."""
