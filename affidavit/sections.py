"""The sections of the settings: what can be set, with defaults, bounds and reasons. Frozen; read by
:mod:`affidavit.settings`."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

MIB = 1 << 20
GIB = 1 << 30


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


class Section(BaseModel):
    """What all sections share: frozen, and no field that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Deployment(Section):
    """What the deployment is. Fixed by ``affidavit init``: the ledger's origins hold the name."""

    name: str = "affidavit.localhost"
    """Origin of every log, as a URL without its scheme, e.g. ``audit.example.com``. Cannot change later."""
    shards: int = Field(default=1, ge=1, le=256)
    """Shards of the events topic. A conversation stays on one shard. Cannot change later; on Kafka the topic itself may
    get more partitions."""

    @field_validator("name")
    @classmethod
    def _is_an_origin(cls, name: str) -> str:
        segments = name.split("/")
        plain = all(part and part.strip(".") and all(c.isalnum() or c in "._-" for c in part) for part in segments)
        if not name.isascii() or not plain:
            raise ValueError(f"got {name!r}, expected letters, digits, '.', '_', '-', '/', e.g. audit.example.com")
        return name


class Listener(Section):
    """Where a server listens."""

    host: str = "127.0.0.1"
    """Address to bind."""
    port: int = Field(default=0, ge=0, le=65535)
    """TCP port; 0 takes a free one."""
    behind_tls_proxy: bool = False
    """Say yes where a proxy terminates TLS: without it, only a loopback address is accepted, because bearer tokens and
    content would cross the network in the clear."""

    @model_validator(mode="after")
    def _no_plaintext_on_a_network(self) -> Self:
        if not self.behind_tls_proxy and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} is not a loopback address, and this server speaks plain HTTP: put a TLS proxy in "
                "front and set behind_tls_proxy = true, or listen on 127.0.0.1"
            )
        return self


class CollectorSettings(Listener):
    """The HTTP server that gateways send to: native API, LiteLLM, OTLP."""

    port: int = Field(default=4318, ge=0, le=65535)
    """TCP port; 4318 is the port of OTLP over HTTP. 0 takes a free one."""
    max_body_bytes: int = Field(default=64 * MIB, ge=1024)
    """Largest body accepted, before and after decompression."""
    max_pending_bytes: int = Field(default=256 * MIB, ge=1024)
    """Bodies in flight together; above it the answer is 503 with Retry-After, and nothing is lost."""
    max_spooled_bytes: int = Field(default=2 * GIB, ge=64 * MIB)
    """Disk for bodies above 1 MiB while they are being recorded; above it the answer is 503."""
    heartbeat_seconds: float = Field(default=60.0, ge=1, le=3600)
    """Between two heartbeats on the log, which say how far the collector has come."""


class QuerySettings(Listener):
    """The read-only ClickHouse HTTP interface of the embedded engine."""

    port: int = Field(default=8123, ge=0, le=65535)
    """TCP port; 8123 is ClickHouse's. 0 takes a free one."""
    max_seconds: float = Field(default=60.0, gt=0)
    """Longest run time of a query."""
    max_result_bytes: int = Field(default=1024 * MIB, ge=1024)
    """Largest result of a query."""


class BusSettings(Section):
    """The event bus: SQLite in the data directory, or Apache Kafka."""

    kafka: str = ""
    """Brokers of Apache Kafka to begin with, ``host:port`` separated by commas; empty: SQLite, for one machine."""
    topic_prefix: str = Field(default="affidavit.", pattern=r"^[A-Za-z0-9._-]*$")
    """In front of ``events``, ``control`` and ``deadletter``, and of the names of consumer groups."""
    replication: int = Field(default=3, ge=1, le=15)
    """Copies of each topic that ``init`` creates."""
    min_insync: int = Field(default=2, ge=1, le=15)
    """Copies that must have a message before it counts as written; checked at each start."""
    retention_hours: float = Field(default=168.0, gt=0)
    """How long the topics keep messages: longer than the slowest consumer may be away; checked at each start."""
    max_message_bytes: int = Field(default=16 * MIB, ge=MIB)
    """Largest record that the topics must take, checked at each start. What would make a record larger than 1 MiB goes
    to the object store, so this is ample."""
    compression: Literal["none", "lz4", "zstd"] = "none"
    """Of what is sent to the brokers. Parts are compressed before they are encrypted: more gains little."""
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] | None = None
    """Protocol of the brokers. PLAINTEXT must be said, unless they are on this machine."""
    ca_file: Path | None = None
    """Authorities that may have signed the brokers' certificates, PEM; the system's when left out."""
    cert_file: Path | None = None
    """Our client certificate, PEM, where the brokers ask for one."""
    key_file: Path | None = None
    """Its private key, PEM."""
    key_password: SecretStr | None = None
    """Password of the private key."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"] | None = None
    """SASL mechanism."""
    username: str = ""
    """SASL user."""
    password: SecretStr | None = None
    """SASL password."""
    region: str = ""
    """AWS region, for AWS_MSK_IAM."""
    append_seconds: float = Field(default=5.0, gt=0, le=300)
    """How long an append may take before it counts as failed, and goes to the spool."""
    session_seconds: float = Field(default=10.0, ge=1, le=300)
    """How long a process may be silent before others take over its shards."""
    rebalance_seconds: float = Field(default=30.0, ge=5, le=600)
    """How long a process may take to let go of its shards."""

    @model_validator(mode="after")
    def _no_plaintext_by_default(self) -> Self:
        hosts = [server.strip().rpartition(":")[0].strip("[]") for server in self.kafka.split(",") if server.strip()]
        if self.security is None and not all(is_loopback(host) for host in hosts):
            raise ValueError(
                f"security is not set and {self.kafka} is not this machine: set it to SASL_SSL or SSL, or to PLAINTEXT "
                "where the network itself is protected"
            )
        if (self.security or "").startswith("SASL") and self.mechanism is None:
            raise ValueError(f"security {self.security} needs a mechanism")
        if self.min_insync > self.replication:
            raise ValueError(f"min_insync {self.min_insync} is more than replication {self.replication}")
        return self


class SpoolSettings(Section):
    """Where a collector keeps what Kafka cannot take just now: a file of its own below the data directory."""

    max_bytes: int = Field(default=8 * GIB, ge=MIB)
    """Beyond it the answer is 503, and nothing is lost."""
    max_hours: float = Field(default=24.0, gt=0)
    """When the oldest record has waited longer, the collector reports itself not ready and answers 503."""


class ControlSettings(Section):
    """The control database: SQLite in the data directory, or PostgreSQL."""

    url: SecretStr | None = None
    """``postgresql://user:password@host/database?sslmode=verify-full``; empty: SQLite, for one machine."""


class ObjectsSettings(Section):
    """The object store for ledger, archive and large parts: a directory, or S3."""

    directory: Path | None = None
    """A directory that all processes share; ``objects`` in the data directory when left out."""
    bucket: str = ""
    """An S3 bucket with Object Lock and versioning, in place of a directory."""
    prefix: str = ""
    """In front of all keys in the bucket."""
    endpoint: str = ""
    """URL of an S3 service that is not AWS."""
    region: str = ""
    """Region of the bucket."""
    access_key: str = ""
    """Access key id; the usual chain of the AWS SDK when left out."""
    secret_key: SecretStr | None = None
    """Secret access key."""
    ca_file: Path | None = None
    """Authorities that may have signed the service's certificate, PEM."""

    @model_validator(mode="after")
    def _one_store(self) -> Self:
        if self.directory is not None and self.bucket:
            raise ValueError("got a directory and a bucket, expected one of them")
        return self


class MonitorSettings(Listener):
    """Health, readiness and Prometheus metrics of a process."""

    port: int = Field(default=9464, ge=0, le=65535)
    """TCP port; 9464 is OpenTelemetry's for Prometheus. 0 takes a free one."""
    enabled: bool = True
    """Whether to listen at all."""
    token: SecretStr | None = None
    """Bearer token that scrapers must send, if one is set."""


class SignerSettings(Section):
    """The signer and its anchor log."""

    key: Path | None = None
    """File of the signing key; ``keys/signer.key`` in the data directory when left out."""
    passphrase: SecretStr | None = None
    """Of that file, if it is under one."""
    linger_seconds: float = Field(default=0.25, gt=0, le=60)
    """Longest wait before a checkpoint covers what was received."""
    anchor_seconds: float = Field(default=10.0, gt=0, le=3600)
    """Time between two checkpoint sets in the anchor log. Silence longer than three of them is reported."""
    parity: bool = True
    """Whether the signer compares ledger and destinations each night, and signs what it found: ``affidavit parity``."""
    parity_minutes: float = Field(default=20.0, ge=1, le=1380)
    """How long after midnight UTC it does so: later than the archive gathers and destinations confirm."""


class CustodySettings(Section):
    """Who keeps the signing key of the ledger."""

    kind: Literal["file", "aws-kms", "vault", "pkcs11"] = "file"
    """``file``: as ``[signer]`` says. The others sign and never give the key out."""
    key_id: str = ""
    """``aws-kms``: id, ARN or alias. ``vault``: name of the Transit key. ``pkcs11``: label of the key pair."""
    url: str = ""
    """``vault``: e.g. ``https://vault.example.com:8200``."""
    mount: str = "transit"
    """``vault``: where the Transit engine is mounted."""
    version: int | None = Field(default=None, ge=1)
    """``vault``: which version of the key; the latest at start when left out."""
    namespace: str = ""
    """``vault``: namespace of Vault Enterprise."""
    token: SecretStr | None = None
    """``vault``: a token that may sign with the key and read its public half."""
    ca_file: Path | None = None
    """``vault``: authorities that may have signed its certificate, PEM; the system's when left out."""
    region: str = ""
    """``aws-kms``: region of the key; the AWS SDK's usual chain when left out."""
    endpoint: str = ""
    """``aws-kms``: URL of a service that is not AWS's own."""
    access_key: str = ""
    """``aws-kms``: access key; the AWS SDK's usual chain when left out."""
    secret_key: SecretStr | None = None
    """``aws-kms``: its secret."""
    module: Path | None = None
    """``pkcs11``: the vendor's library."""
    token_label: str = ""
    """``pkcs11``: label of the token."""
    pin: SecretStr | None = None
    """``pkcs11``: PIN of the token's user."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        wanted = {
            "file": (),
            "aws-kms": ("key_id",),
            "vault": ("key_id", "url", "token"),
            "pkcs11": ("key_id", "module", "token_label", "pin"),
        }[self.kind]
        absent = [name for name in wanted if not getattr(self, name)]
        if absent:
            raise ValueError(f"custody {self.kind} needs {' and '.join(absent)}")
        if self.url and not (self.url.startswith("https://") or is_loopback(host_of(self.url))):
            raise ValueError(f"got {self.url}, expected https://: the token would cross the network in the clear")
        return self


class AnchorSettings(Section):
    """Something outside that vouches for the anchor log. Several, each with a name: ``[anchors.NAME]``."""

    kind: Literal["tsa", "witness", "lock", "rekor"]
    """``tsa``: a time-stamping authority (RFC 3161). ``witness``: a C2SP witness. ``lock``: copies under Object Lock in
    another bucket. ``rekor``: a Rekor v2 log."""
    url: str = ""
    """Where it takes requests; all but ``lock``."""
    interval_seconds: float | None = Field(default=None, gt=0, le=86_400)
    """How often it is asked, at most: 60 for ``tsa``, 10 for ``witness`` and ``lock``, 3600 for ``rekor``."""
    certificates: Path | None = None
    """``tsa``: PEM file with the authority's own certificate, then those above it up to the root. It is pinned."""
    vkey: str = ""
    """``witness``, ``rekor``: its verifier key, ``<name>+<hash>+<key>``."""
    username: str = ""
    """``tsa``: user of an authority that wants one."""
    password: SecretStr | None = None
    """``tsa``: its password."""
    signing_key: Path | None = None
    """``rekor``: PEM file with an ECDSA P-256 key of its own, mode 0600: Rekor takes no Ed25519."""
    ca_file: Path | None = None
    """Authorities that may have signed the server's certificate, PEM; the system's when left out."""
    directory: Path | None = None
    """``lock``: a directory on another machine, where there is no bucket. Nothing locks it."""
    bucket: str = ""
    """``lock``: a bucket with versioning and Object Lock, in an account that the ledger's operator does not own."""
    prefix: str = ""
    """``lock``: in front of all keys in the bucket."""
    endpoint: str = ""
    """``lock``: URL of an S3 service that is not AWS."""
    region: str = ""
    """``lock``: region of the bucket."""
    access_key: str = ""
    """``lock``: access key; the AWS SDK's usual chain when left out."""
    secret_key: SecretStr | None = None
    """``lock``: its secret."""
    retain_days: int = Field(default=2557, ge=1, le=36500)
    """``lock``: how long a copy is locked."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        wanted = {
            "tsa": ("url", "certificates"),
            "witness": ("url", "vkey"),
            "rekor": ("url", "vkey", "signing_key"),
            "lock": (),
        }[self.kind]
        absent = [name for name in wanted if not getattr(self, name)]
        if absent:
            raise ValueError(f"an anchor of kind {self.kind} needs {' and '.join(absent)}")
        if self.kind == "lock" and bool(self.bucket) == bool(self.directory):
            raise ValueError("an anchor of kind lock needs a bucket, or a directory, and not both")
        if self.url and not (self.url.startswith("https://") or is_loopback(host_of(self.url)) or self.kind == "tsa"):
            raise ValueError(f"got {self.url}, expected https://: only a time-stamping authority may do without")
        return self


class ClickHouseSettings(Section):
    """The ClickHouse sink, and the server it writes to if there is one."""

    url: str = ""
    """HTTP interface of a ClickHouse server, e.g. ``https://clickhouse.example.com:8443``; empty: the embedded engine,
    which admits one process."""
    username: str = "default"
    """User of the server. It must be able to create the tables."""
    password: SecretStr | None = None
    """Password of the user."""
    database: str = "affidavit"
    """Database on the server; created when absent."""
    ca_file: Path | None = None
    """Authorities that may have signed the server's certificate, PEM; the system's when left out."""
    linger_seconds: float = Field(default=0.5, gt=0, le=60)
    """Longest wait before received records are inserted. More wait makes fewer, larger inserts, which take less from
    the collector beside them; a whole second puts the time to queryable at the edge of its budget of two."""
    migrate: bool = True
    """Whether the sink creates the tables that are missing when it starts. Off: it only checks that they are there, for
    a user who may not; ``affidavit clickhouse migrate`` creates them."""


class ArchiveSettings(Section):
    """The archive sink."""

    segment_bytes: int = Field(default=64 * MIB, ge=4096)
    """An object is closed at this size."""
    segment_seconds: float = Field(default=300.0, gt=0, le=3600)
    """An object is closed at this age."""
    retain_days: int = Field(default=180, ge=0, le=36500)
    """Objects are write-once for this long; set it to the longest regulatory minimum, no more (docs/operations.md)."""


class WatchSettings(Listener):
    """The monitor that follows a ledger as an outsider (``affidavit run monitor``), and its metrics."""

    port: int = Field(default=9465, ge=0, le=65535)
    """TCP port of the metrics."""
    interval_seconds: float = Field(default=30.0, ge=1, le=86_400)
    """Time between two rounds."""
    silence_seconds: float = Field(default=60.0, gt=0)
    """A newest checkpoint set that is older raises an alert."""
    late_seconds: float = Field(default=60.0, gt=0)
    """A record that was signed so long after the bus took it raises an alert."""
    webhook: SecretStr | None = None
    """URL that every new alert is posted to, as JSON."""


class WitnessSettings(Listener):
    """A witness, in the directory of one (``affidavit witness init``)."""

    port: int = Field(default=4320, ge=0, le=65535)
    """TCP port."""


class GrpcSettings(Listener):
    """OTLP over gRPC, beside the HTTP server of the collector."""

    port: int = Field(default=4317, ge=0, le=65535)
    """TCP port; 4317 is the port of OTLP over gRPC. 0 takes a free one."""
    enabled: bool = True
    """Whether to listen at all."""


class WebhookSettings(Section):
    """A sender that signs its requests in place of bearing a token: ``[webhooks.NAME]`` for ``/v1/helicone/NAME`` and
    ``/v1/anthropic-hooks/NAME``."""

    tenant: str = Field(min_length=1)
    """Whose events these are."""
    gateway: str = Field(min_length=1)
    """What to call where they come from."""
    secret: SecretStr
    """The secret under which the sender signs."""
    former_secret: SecretStr | None = None
    """The one before, while the sender changes over."""
    fail_closed: bool = False
    """Whether a sender that asks for leave, as Anthropic's inference hooks do, is refused it when its record cannot be
    made durable."""


class FileSettings(Section):
    """Files that the collector follows: ``[files.NAME]``. The name remembers how far they were read."""

    path: str = Field(min_length=1)
    """Which files, with ``*`` and ``**`` for several, e.g. ``/var/log/gateway/*.ndjson``."""
    gateway: str = Field(min_length=1)
    """What to call where they come from."""
    tenant: str = Field(min_length=1)
    """Whose events these are."""
    format: str = "file"
    """What the lines are, as ``affidavit gateways list`` names it; ``file``: events of the native API."""


class CloudflareSettings(Section):
    """Private keys for the encrypted fields of Cloudflare's logs."""

    key_file: Path | None = None
    """RSA private key, PEM. Without it encrypted fields are recorded as they come."""
    former_key_file: Path | None = None
    """The one before, for logs that were written under it."""


class FeedSettings(Section):
    """A source that has to be asked: ``[feeds.NAME]``, for the poller. The name remembers how far it was read."""

    kind: Literal[
        "anthropic-compliance",
        "openai-audit",
        "cloud-logging",
        "bigquery",
        "bedrock",
        "litellm",
        "cloudflare",
        "vertex",
    ]
    """What it is: an API, or for the last four a bucket of such objects."""
    tenant: str = Field(min_length=1)
    """Whose events these are."""
    gateway: str = ""
    """What to call where the objects of a bucket come from; the kind when left out."""
    since: datetime | None = None
    """Where to begin, e.g. ``2026-11-01T00:00:00Z``. An API needs it; without it a bucket is read from the start."""
    key: SecretStr | None = None
    """API key: of Anthropic with the scope ``read:compliance_activities``, of OpenAI an admin key; of Google the key
    file of a service account, in JSON, and the machine's own account when left out."""
    url: str = ""
    """Base URL of an API that is elsewhere than at its makers'."""
    proxy: str = ""
    """URL of an HTTP proxy towards an API."""
    interval_seconds: float = Field(default=60.0, ge=1, le=86_400)
    """Between two looks when there was nothing more. A look at BigQuery is a query and is paid for: take 900."""
    resources: str = ""
    """Whose entries to ask Cloud Logging for, separated by commas: ``projects/ID``, ``folders/ID`` …"""
    filter: str = ""
    """Which of them, in Logging's query language; the audit entries of Vertex AI when left out."""
    table: str = ""
    """Table of BigQuery with the rows of Vertex AI: ``PROJECT.DATASET.TABLE``."""
    project: str = ""
    """Project that pays for the queries; the table's when left out."""
    location: str = ""
    """Where the table lies, e.g. ``EU``; found out by BigQuery when left out."""
    bucket: str = ""
    """S3 bucket, or one of Google with its ``endpoint``, ``https://storage.googleapis.com``."""
    prefix: str = ""
    """What the keys begin with, with its slash."""
    region: str = ""
    """Region of the bucket; the AWS SDK's usual chain when left out."""
    endpoint: str = ""
    """URL of an S3 service that is not AWS."""
    role_arn: str = ""
    """A role to take on for the bucket, with the credentials of the AWS SDK's usual chain."""
    external_id: str = ""
    """What the role's policy asks for."""
    body_buckets: str = ""
    """Other buckets that records may refer to for their bodies, separated by commas, as Bedrock's large data delivery
    may name one."""
    late_hours: float = Field(default=6.0, gt=0, le=744)
    """How long after the moment in its key an object may appear in the bucket. One that appears later is not found."""

    @model_validator(mode="after")
    def _what_its_kind_needs(self) -> Self:
        needed = {
            "anthropic-compliance": ("key", "since"),
            "openai-audit": ("key", "since"),
            "cloud-logging": ("resources", "since"),
            "bigquery": ("table", "since"),
        }
        missing = [name for name in needed.get(self.kind, ("bucket",)) if not getattr(self, name)]
        if missing:
            raise ValueError(f"kind {self.kind} needs {' and '.join(missing)}")
        if self.since is not None and self.since.tzinfo is None:
            raise ValueError(f"got since {self.since.isoformat()}, expected a time zone: append Z for UTC")
        return self


class ProxySettings(Listener):
    """The recording proxy, for those who have no gateway."""

    port: int = Field(default=4319, ge=0, le=65535)
    """TCP port; 0 takes a free one."""
    enabled: bool = False
    """Whether ``up`` runs it too; ``run proxy`` always does."""
    fail_closed: str = ""
    """Tenants, separated by commas, whose requests go to the provider only once the prompt is durable."""
    early_seconds: float = Field(default=10.0, gt=0, le=600)
    """After so long a request that is still being answered is recorded without its answer, and again with it."""
    silence_seconds: float = Field(default=600.0, gt=0, le=3600)
    """How long a provider may send nothing: as long as its clients wait."""
    patience_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """For how long an exchange waits to be recorded before it counts as lost, which is put on the log."""
    ca_file: Path | None = None
    """Authorities that may have signed the providers' certificates, PEM; the system's when left out."""
    fingerprint_key: SecretStr | None = None
    """If set, the providers' API keys are recorded as HMAC-SHA256 under it, so that two uses of one key can be seen."""


class UpstreamSettings(Section):
    """An API behind the proxy: ``[upstreams.NAME]`` for ``http://…:4319/NAME/``. Without any: anthropic and openai."""

    url: str = Field(min_length=1)
    """Where it is, e.g. ``https://api.anthropic.com``."""
    api: Literal["anthropic", "openai", "mcp", ""] = ""
    """What is spoken there; found out from the bodies when left out."""
    tenant: str = ""
    """Whose traffic it is that comes from this machine without a token; without a tenant nobody passes without one."""
    gateway: str = "proxy"
    """What to call where that traffic comes from."""


class FetchSettings(Section):
    """Getting at once what a webhook refers to by a URL that soon expires (Helicone's large bodies)."""

    enabled: bool = True
    """Whether to fetch at all. Only https, and only public addresses."""
    max_bytes: int = Field(default=64 * MIB, ge=1024)
    """Of what is fetched, one at a time."""
    seconds: float = Field(default=5.0, gt=0, le=60)
    """For one fetch."""
    allowed: str = ""
    """Networks that may be asked although they are not public, e.g. ``10.1.0.0/16``, separated by commas."""

    @field_validator("allowed")
    @classmethod
    def _are_networks(cls, allowed: str) -> str:
        for one in filter(None, map(str.strip, allowed.split(","))):
            ipaddress.ip_network(one)
        return allowed
