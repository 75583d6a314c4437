"""The collector over HTTPS: a private authority, a certificate that is asked for, names that do not match."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from fake_splunk import FakeSplunk, Token, served
from ledgered import SHARD
from memory_control import MemoryControl
from memory_keys import MemoryKeys
from sealed_records import messages, sealed
from tls_front import self_signed

from schemas.errors import ConfigurationError
from schemas.ids import Offset
from sinks.contract import Accepted, Retry
from sinks.splunk.config import HecConfig
from sinks.splunk.health import ask_health
from sinks.splunk.sink import SplunkSink
from sinks.tls import Secret, Tls


def test_who_is_trusted_and_who_we_are(tmp_path: Path) -> None:
    authority, key = self_signed(tmp_path / "server")
    ours, our_key = self_signed(tmp_path / "ours")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)
    context.load_verify_locations(ours)
    context.verify_mode = ssl.CERT_REQUIRED
    keys = MemoryKeys()
    batch = messages(sealed(keys, 10), SHARD)
    with served(FakeSplunk({"token": Token()}), context) as server:
        config = HecConfig(server.url, Secret("token"), "x", tls=Tls(Path(authority), Path(ours), Path(our_key)))
        assert ask_health(config) == ""
        for tls, outcome in (
            (config.tls, Accepted),
            (Tls(Path(authority)), Retry),
            (Tls(None, Path(ours), Path(our_key)), Retry),
        ):
            sink = SplunkSink(replace(config, tls=tls), keys, MemoryControl(), linger=0.0)
            sink.resume(SHARD, Offset(0))
            assert isinstance(sink.deliver(SHARD, batch), outcome)
            sink.close()
        named = replace(config, url=server.url.replace("127.0.0.1", "localhost"))
        assert "does not answer" in ask_health(named)
    assert len(server.splunk.events) == 10


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"expected readable PEM"):
        Tls(tmp_path / "nothing.pem").context()
