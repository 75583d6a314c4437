"""The sections of the settings that lead into other systems: Splunk, OCSF, syslog. See :mod:`affidavit.sections`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from affidavit.sections import Section, host_of, is_loopback


class TlsFields(Section):
    """How a server is trusted, and how it may know us."""

    ca_file: Path | None = None
    """Authorities that may have signed the server's certificate, PEM; the system's when left out."""
    cert_file: Path | None = None
    """Our own certificate, PEM, for a server that asks for one."""
    key_file: Path | None = None
    """Its private key, PEM; left out when it is in ``cert_file``."""
    key_password: SecretStr | None = None
    """Password of the private key."""


class SplunkRoute(Section):
    """Where events go whose metadata has certain values."""

    index: str = Field(min_length=1)
    """The index."""
    match: dict[str, str] = Field(min_length=1)
    """Fields of metadata v1 and the value of each, such as ``{tenant = "acme", kind = "prompt"}``."""


class SplunkSettings(TlsFields):
    """The sink into Splunk, over the HTTP Event Collector. See docs/splunk.md."""

    url: str = ""
    """Base URL of the collector, e.g. ``https://hec.example.com:8088``; empty: no such sink."""
    token: SecretStr | None = None
    """Token of the collector."""
    token_file: Path | None = None
    """A file with the token, in place of ``token``; read again when it changes."""
    ack: Literal["required", "none", "reconcile"] = "required"
    """When a record counts as delivered: ``required`` when Splunk's indexers acknowledge it (Splunk Enterprise; the
    token must have it turned on), ``none`` when the collector answers 200, ``reconcile`` when a search finds it (Splunk
    Cloud)."""
    index: str = ""
    """Index of records that no route matches; the token's default when left out."""
    routes: tuple[SplunkRoute, ...] = ()
    """``[[splunk.routes]]``: the first whose values are those of the record gives its index."""
    host: str = ""
    """The events' ``host``; what Splunk makes of it when left out."""
    content: bool = True
    """Whether prompts, responses and arguments go with the metadata. What is in Splunk can be neither held nor
    destroyed from here."""
    max_event_bytes: int = Field(default=500_000, ge=2_000, le=5_000_000)
    """Longer content is shortened to its beginning and end, with its length and SHA-256. Splunk takes 5 MB at most."""
    max_body_bytes: int = Field(default=1_000_000, ge=10_000, le=50_000_000)
    """Bytes of one request before compression. Splunk Cloud recommends 1 MB."""
    concurrency: int = Field(default=8, ge=1, le=64)
    """Requests at a time, at most; fewer while Splunk is busy."""
    max_unconfirmed: int = Field(default=100_000, ge=1_000)
    """Records of one shard that may be under way without being confirmed."""
    ack_seconds: float = Field(default=300.0, ge=10, lt=600)
    """What is not confirmed for so long is sent again. Splunk itself drops an idle channel after 600 s."""
    poll_seconds: float = Field(default=5.0, ge=0.1, le=60)
    """How often Splunk is asked what it has."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=300)
    """Of one request."""
    linger_seconds: float = Field(default=1.0, gt=0, le=60)
    """Longest wait for more records before a request is sent."""
    search_url: str = ""
    """Base URL of Splunk's management port, e.g. ``https://splunk.example.com:8089``, for ``reconcile``."""
    search_token: SecretStr | None = None
    """An authentication token whose user may search the indexes."""
    search_token_file: Path | None = None
    """A file with it, in place of ``search_token``; read again when it changes."""
    allow_http: bool = False
    """Whether to send tokens and records in the clear to another machine."""

    @model_validator(mode="after")
    def _leads_somewhere_safe(self) -> Self:
        if self.url and (self.token is None) == (self.token_file is None):
            raise ValueError("url is set: set token or token_file, one of the two")
        if self.ack == "reconcile" and self.url and not self.search_url:
            raise ValueError("ack is reconcile: set search_url, and search_token or search_token_file")
        if self.search_url and (self.search_token is None) == (self.search_token_file is None):
            raise ValueError("search_url is set: set search_token or search_token_file, one of the two")
        for url in filter(None, (self.url, self.search_url)):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
                raise ValueError("expected URLs such as https://hec.example.com:8088, without user, token or query")
            if parts.scheme == "http" and not (self.allow_http or is_loopback(parts.hostname)):
                raise ValueError(
                    f"{parts.hostname} is not this machine, and http:// sends the token in the clear: use https://, or "
                    "set allow_http where the network itself is protected"
                )
        return self


class OcsfSettings(TlsFields):
    """The sink for whoever takes OCSF events, over HTTP or in files. See docs/ocsf.md."""

    url: str = ""
    """Takes POST of newline-delimited JSON, e.g. ``https://pipeline.example.com/ocsf``; empty: not over HTTP."""
    directory: Path | None = None
    """Folder for files, one for each shard and day, in place of ``url``."""
    token: SecretStr | None = None
    """Sent as ``Authorization: Bearer``."""
    token_file: Path | None = None
    """A file with the token, in place of ``token``; read again when it changes."""
    content: bool = True
    """Whether prompts, responses and arguments go along, as ``raw_data``."""
    max_body_bytes: int = Field(default=1_000_000, ge=10_000, le=50_000_000)
    """Bytes of one request before compression."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=300)
    """Of one request."""
    linger_seconds: float = Field(default=1.0, gt=0, le=60)
    """Longest wait for more records before a request is sent."""
    allow_http: bool = False
    """Whether to send tokens and records in the clear to another machine."""

    @model_validator(mode="after")
    def _leads_somewhere_safe(self) -> Self:
        if self.url and self.directory:
            raise ValueError("url and directory are both set: choose one")
        if self.token is not None and self.token_file is not None:
            raise ValueError("token and token_file are both set: choose one")
        if self.url and not (self.url.startswith("https://") or is_loopback(host_of(self.url)) or self.allow_http):
            raise ValueError(f"got {self.url}, expected https://, or allow_http where the network itself is protected")
        return self


class SyslogSettings(TlsFields):
    """The sink for whoever takes syslog: RFC 5424 over TLS, in CEF. See docs/syslog.md."""

    host: str = ""
    """Name of the receiver, as its certificate has it; empty: no such sink."""
    port: int = Field(default=6514, ge=1, le=65535)
    """TCP port; 6514 is that of syslog over TLS."""
    tls: bool = True
    """Whether to use TLS. Without it, only to this machine."""
    content: bool = False
    """Whether the first 1,023 characters of the content go along, as ``msg``."""
    max_message_bytes: int = Field(default=8192, ge=480, le=65_536)
    """Longest message. RFC 5425 wants receivers to take 2,048 octets and recommends 8,192."""
    enterprise_id: int = Field(default=32473, ge=1)
    """Private enterprise number in the structured data; 32473 is the one for documentation (RFC 5612)."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=300)
    """How long the receiver may take nothing."""
    linger_seconds: float = Field(default=1.0, gt=0, le=60)
    """Longest wait for more records before they are sent."""

    @model_validator(mode="after")
    def _in_the_clear_only_to_this_machine(self) -> Self:
        if self.host and not self.tls and not is_loopback(self.host):
            raise ValueError(f"{self.host} is not this machine: leave tls on")
        return self
