"""A ClickHouse server, over its HTTP interface.

Several processes may use one server, and must then use the same one: not several replicas behind one address, because
the fence (:mod:`sinks.clickhouse.fence`) looks at the server's list of processes. ClickHouse 26.2 or later: the tables
have text indexes.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import zstandard
from clickhouse_connect.driver import create_client
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ProgrammingError

from schemas.errors import ConfigurationError
from sinks.clickhouse.engine import DATABASE, Structures
from sinks.clickhouse.quoting import quote, quote_name

Compression = Literal["none", "zstd"]

_PORTS = {"http": 8123, "https": 8443}


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is, and who we are to it.

    Attributes:
        url: ``http://host:8123`` or ``https://host:8443``, with a path if a proxy wants one. No user and no password:
            an address is shown in messages.
        user, password: of ClickHouse.
        database: of our tables.
        ca_file: certificates (PEM) that sign the server's, in place of the system's.
        client_certificate, client_key: files (PEM), for a server that asks for one. Without a password the certificate
            is who we are.
        connect_seconds: to connect, and for each piece of a body to be taken.
        receive_seconds: of silence while we wait for an answer. More than the longest insert takes: behind a lost
            answer comes another turn of the fence.
        compression: of insert bodies. zstd (level 1) makes them a third, for 6 ms of a core per megabyte; on one
            machine that buys nothing.
    """

    url: str
    user: str = "default"
    password: str = field(default="", repr=False)
    database: str = DATABASE
    ca_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    connect_seconds: int = 10
    receive_seconds: int = 120
    compression: Compression = "zstd"


class ServerEngine:
    """Implements :class:`sinks.clickhouse.engine.Engine`. Connects in :meth:`client` only.

    Args:
        server: where.

    Raises:
        ConfigurationError: the address is not one, or a file is not there.
    """

    def __init__(self, server: Server) -> None:
        self.database = server.database
        self._server = server
        self._structures = Structures()
        self._address = _address(server)

    def prepare(self) -> None:
        """See :meth:`Engine.prepare`. The user must be allowed to create the database, or find it created."""
        client = self._connect("system", {})
        try:
            name = quote(self.database)
            if not client.query(f"SELECT 1 FROM system.databases WHERE name = {name}").result_rows:
                client.command(f"CREATE DATABASE IF NOT EXISTS {quote_name(self.database)}")
        finally:
            client.close()

    def client(self, settings: Mapping[str, str | int] | None = None, database: str | None = None) -> Client:
        """See :meth:`Engine.client`. Without a session on the server, which would lock out all but one query."""
        return self._connect(database or self.database, settings or {})

    def insert(
        self, client: Client, table: str, body: bytes, settings: Mapping[str, str | int], condition: str = "1"
    ) -> None:
        """See :meth:`Engine.insert`. One request, sent once: statement and rows are its body. Its length is told
        before, so that a server which gets less does not take that for the end."""
        structure = self._structures.of(client, table)
        statement = (
            f"INSERT INTO {quote_name(table)} SELECT * FROM input({quote(structure)}) WHERE {condition} FORMAT Avro\n"
        )
        packed = b"".join((statement.encode(), body))
        packs = self._server.compression == "zstd"
        if packs:
            packed = zstandard.ZstdCompressor(level=1).compress(packed)
        client.raw_insert(
            "",
            # A file, not bytes: it goes out piece by piece, each with the time to itself, and is never sent again by
            # the client library.
            insert_block=io.BytesIO(packed),
            settings={**settings, "wait_end_of_query": 1},
            compression="zstd" if packs else None,
            transport_settings={"Content-Length": str(len(packed))},
        )

    def close(self) -> None:
        """Nothing is held: clients are closed by whoever opened them."""

    def _connect(self, database: str, settings: Mapping[str, str | int]) -> Client:
        server = self._server
        try:
            return create_client(
                **self._address,
                username=server.user,
                password=server.password,
                database=database,
                settings=dict(settings),
                connect_timeout=server.connect_seconds,
                send_receive_timeout=server.receive_seconds,
                compress=False,
                query_retries=0,
                autogenerate_session_id=False,
                client_name="affidavit",
                dedicated_pool=not (server.ca_file or server.client_certificate),
            )
        except ProgrammingError as error:
            raise ConfigurationError(f"the ClickHouse client does not take these settings: {error}") from None


def _address(server: Server) -> dict[str, Any]:
    """What the client library is to be told about the place."""
    try:
        parts = urlsplit(server.url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"got an address of ClickHouse that does not parse: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            "got an address of ClickHouse with a user or password in it, expected none: they have settings of their own"
        )
    if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(f"got {server.url!r} as address of ClickHouse, expected http(s)://host:port")
    given: dict[str, Any] = {
        "interface": parts.scheme,
        "host": parts.hostname,
        "port": port or _PORTS[parts.scheme],
        "proxy_path": parts.path.strip("/"),
    }
    files = {"ca_cert": server.ca_file, "client_cert": server.client_certificate, "client_cert_key": server.client_key}
    for name, path in files.items():
        if path is None:
            continue
        if parts.scheme != "https":
            raise ConfigurationError(f"got {path} and an address with http, expected https: certificates are for TLS")
        if not path.is_file():
            raise ConfigurationError(f"there is no file {path} ({name} of ClickHouse)")
        given[name] = str(path)
    if parts.scheme == "https":
        _check_certificates(server)
    if server.client_certificate and server.password:
        given["tls_mode"] = "strict"
    return given


def _check_certificates(server: Server) -> None:
    """Load them once: what is wrong with a file is for a person, now, and not one more failure to connect."""
    try:
        context = ssl.create_default_context(cafile=server.ca_file)
        if server.client_certificate:
            context.load_cert_chain(server.client_certificate, server.client_key)
    except OSError as error:
        raise ConfigurationError(f"a certificate or key for {server.url} cannot be used: {error}") from None
