"""Syslog: messages by the letter of RFC 5424 and of CEF, what counts as taken, and a real rsyslog at the other end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from debian import install
from hypothesis import given
from hypothesis import strategies as st
from line_receivers import syslog_receiver
from load import wait_until
from memory_keys import MemoryKeys
from sealed_records import RECEIVED_AT, events, messages
from tls_front import self_signed

from collector.sealing import Sealing
from schemas.errors import ConfigurationError
from schemas.ids import EVENTS, Offset, Shard
from sinks.contract import Pause, Retry
from sinks.description import Description, describe
from sinks.forwarding import Line, Sent
from sinks.opening import Opening
from sinks.syslog import cef
from sinks.syslog.message import frame, message
from sinks.syslog.stream import StreamConfig, StreamTransport
from sinks.tls import Tls

SHARD = Shard(EVENTS, 0)
SYSLOG = re.compile(
    rb"<(?P<pri>\d{1,3})>1 (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (?P<host>[\x21-\x7e]{1,255}) "
    rb"(?P<app>[\x21-\x7e]{1,48}) (?P<proc>[\x21-\x7e]{1,128}) (?P<id>[\x21-\x7e]{1,32}) "
    rb'(?P<data>-|\[[\x21-\x7e]+(?: [a-z]+="(?:[^"\\\]]|\\["\\\]])*")*\]) \xef\xbb\xbf(?P<text>.*)',
    re.DOTALL,
)


def description(content: bytes = b'{"text":"hello"}', **metadata: Any) -> Description:
    keys = MemoryKeys()
    (plain,) = events(1)
    event = replace(plain, metadata={**plain.metadata, **metadata}, content=content)  # type: ignore[typeddict-item]
    (sealed,) = messages(Sealing(keys).seal([event]), SHARD, start=5)
    opening = Opening(keys)
    records, part_keys = opening.records([sealed])
    return describe(sealed, opening.open(sealed, records[0], part_keys))


def made(text: str, max_bytes: int = 8192, **fields: Any) -> bytes:
    whole = {
        "host": "here",
        "app": "affidavit",
        "process": "1",
        "kind": "prompt",
        "data": {"shard": "events/0"},
        **fields,
    }
    return message(text, severity=6, time_us=RECEIVED_AT, max_bytes=max_bytes, **whole)


def test_a_message_by_the_letter() -> None:
    assert made("CEF:0|a") == (
        b'<110>1 2025-11-24T16:00:00.000000Z here affidavit 1 prompt [affidavit@32473 shard="events/0"] '
        b"\xef\xbb\xbfCEF:0|a"
    )
    assert frame(b"abc") == b"3 abc"


@given(st.text(), st.text(), st.text(max_size=40), st.integers(480, 3000))
def test_any_text_makes_a_message(text: str, host: str, value: str, most: int) -> None:
    data = made(text, most, host=host, kind=value, data={"event": value})
    assert len(data) <= most
    parsed = SYSLOG.fullmatch(data)
    assert parsed is not None
    parsed["text"].decode()


def test_what_is_cut_ends_in_a_mark() -> None:
    parsed = SYSLOG.fullmatch(made("é" * 5000, 600))
    assert parsed is not None
    assert parsed["text"].decode().endswith("éé…")


def parse_cef(line: str) -> tuple[list[str], dict[str, str]]:
    """Written from the format's description, not from our encoder."""
    head = re.split(r"(?<!\\)(?:\\\\)*\|", line, maxsplit=7)
    pairs = re.findall(r"(\w+)=((?:\\.|[^\\=])*?)(?=\s\w+=|$)", head[7], re.DOTALL)
    unescape = {"\\n": "\n", "\\=": "=", "\\\\": "\\"}
    return head[:7], {key: re.sub(r"\\.", lambda found: unescape[found[0]], value) for key, value in pairs}


def test_cef_says_what_the_record_says() -> None:
    one = description(
        user_email="ada@example.com",
        outcome="blocked",
        guardrail_action="BLOCK",
        operation="chat",
        total_tokens=7,
        error_message="a=b|c\\d\nnext",
    )
    line = cef.encode(one, "1.2", content=True)
    assert "\n" not in line
    head, found = parse_cef(line)
    assert head == ["CEF:0", "Affidavit", "Affidavit", "1.2", "prompt:chat", "Prompt to a model", "8"]
    assert found["reason"] == "a=b|c\\d\nnext"
    assert found["msg"] == '{"text":"hello"}'
    assert (found["suser"], found["outcome"], found["act"]) == ("ada@example.com", "blocked", "BLOCK")
    assert (found["cs1"], found["cs1Label"], found["cn2"], found["cn2Label"]) == ("acme", "tenant", "7", "total tokens")
    assert found["deviceExternalId"] == "events/0@5"
    assert found["cs6"] == one.fields["leaf"]
    assert "msg=" not in cef.encode(one, "1.2", content=False)


def test_long_content_says_that_it_is_cut() -> None:
    _, found = parse_cef(cef.encode(description(b'{"text":"' + b"x" * 5000 + b'"}'), "1", content=True))
    assert len(found["msg"]) == 1023
    assert found["msg"].endswith("…")
    assert found["cn3"] == "5011"


def lines(count: int, start: int = 0) -> list[Line]:
    return [Line(Offset(at), made(f"number {at}")) for at in range(start, start + count)]


def texts(received: list[bytes]) -> list[str]:
    return [data.partition(b"\xef\xbb\xbf")[2].decode() for data in received]


def test_nothing_counts_that_the_other_side_has_not_taken() -> None:
    with syslog_receiver() as receiver:
        unsent = [1]
        stream = StreamTransport(StreamConfig("127.0.0.1", receiver.port, None), lambda _: unsent[0])
        assert stream.send(lines(10)) == Sent(1)
        assert stream.confirmed() == 0
        unsent[0] = 0
        assert stream.confirmed() == 1
        wait_until(lambda: texts(receiver.messages) == [f"number {at}" for at in range(10)], 10)
        stream.close()


def test_a_connection_that_ends_before_loses_what_was_on_it() -> None:
    with syslog_receiver() as receiver:
        unsent = [1]
        stream = StreamTransport(StreamConfig("127.0.0.1", receiver.port, None), lambda _: unsent[0])
        stream.send(lines(10))
        wait_until(lambda: len(receiver.messages) == 10, 10)
        receiver.drop()
        found: list[int | None] = []
        wait_until(lambda: found.append(stream.confirmed()) or found[-1] is None, 10)
        unsent[0] = 0
        assert stream.send(lines(10)) == Sent(2)
        wait_until(lambda: stream.confirmed() == 2, 10)
        stream.close()


def test_what_was_sent_on_an_old_connection_is_not_confirmed_by_a_new_one() -> None:
    with syslog_receiver() as receiver:
        stream = StreamTransport(StreamConfig("127.0.0.1", receiver.port, None), lambda _: 1)
        stream.send(lines(3))
        stream._open.close()  # type: ignore[union-attr]
        assert isinstance(stream.send(lines(3, 3)), Retry)
        assert stream.send(lines(3, 3)) == Sent(2)
        assert stream.confirmed() is None
        stream.close()


def test_the_kernel_knows_what_was_not_taken() -> None:
    """A receiver that does not read: its window fills, and what is beyond stays with us."""
    listener = socket.create_server(("127.0.0.1", 0))
    stream = StreamTransport(StreamConfig("127.0.0.1", listener.getsockname()[1], None, 0.5))
    big = [Line(Offset(0), b"x" * 60_000)] * 400
    outcome = stream.send(big)
    assert isinstance(outcome, Retry)
    assert stream.send(lines(1)) == Sent(1)
    wait_until(lambda: stream.confirmed() in (None, 1), 10)
    stream.close()
    listener.close()


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    stream = StreamTransport(StreamConfig("127.0.0.1", port, None))
    assert isinstance(stream.send(lines(1)), Retry)
    assert "ConnectionRefusedError" in stream.probe()
    assert stream.confirmed() == 0


def test_over_tls_with_names_and_authorities(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path / "theirs")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with syslog_receiver(context) as receiver:
        known = StreamTransport(StreamConfig("127.0.0.1", receiver.port, Tls(Path(certificate))))
        assert known.probe() == ""
        assert known.send(lines(5)) == Sent(1)
        wait_until(lambda: known.confirmed() == 1 and len(receiver.messages) == 5, 10)
        known.close()
        unknown = StreamTransport(StreamConfig("127.0.0.1", receiver.port, Tls()))
        outcome = unknown.send(lines(1))
        assert isinstance(outcome, Pause)
        assert "syslog.ca_file" in outcome.reason
        unknown.close()


def test_files_for_tls_that_are_wrong_are_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.pem"):
        StreamTransport(StreamConfig("127.0.0.1", 6514, Tls(tmp_path / "nothing.pem")))


RSYSLOG = """
global(workDirectory="{folder}" defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{certificate}"
       defaultNetstreamDriverCertFile="{certificate}" defaultNetstreamDriverKeyFile="{key}" maxMessageSize="64k")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon")
input(type="imtcp" port="{port}" address="127.0.0.1")
template(name="parsed" type="list") {{
  constant(value="{{") property(name="hostname" outname="host" format="jsonf") constant(value=",")
  property(name="app-name" outname="app" format="jsonf") constant(value=",")
  property(name="msgid" outname="id" format="jsonf") constant(value=",")
  property(name="structured-data" outname="data" format="jsonf") constant(value=",")
  property(name="pri-text" outname="pri" format="jsonf") constant(value=",")
  property(name="msg" outname="msg" format="jsonf") constant(value="}}\\n")
}}
action(type="omfile" file="{folder}/out.jsonl" template="parsed")
"""


@pytest.mark.slow
def test_a_real_rsyslog_understands_it(tmp_path: Path) -> None:
    """Debian's rsyslog over TLS, which parses what it gets: header, structured data, CEF."""
    there = install("rsyslogd", "rsyslog", "rsyslog-openssl")
    if not there and not os.environ.get("CI"):
        pytest.skip("rsyslog is not installed, and we may not install it")
    assert there
    certificate, key = self_signed(tmp_path / "theirs")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "rsyslog.conf").write_text(RSYSLOG.format(folder=tmp_path, certificate=certificate, key=key, port=port))
    asked = ["rsyslogd", "-n", "-f", str(tmp_path / "rsyslog.conf"), "-i", str(tmp_path / "pid")]
    with subprocess.Popen(asked, stderr=subprocess.PIPE, text=True) as rsyslog:
        try:
            stream = StreamTransport(StreamConfig("127.0.0.1", port, Tls(Path(certificate))))
            wait_until(lambda: stream.probe() == "" or rsyslog.poll() is not None, 20)
            text = cef.encode(description(operation="chat", user_email="ada@example.com"), "1", content=True)
            sent = [Line(Offset(at), made(text if at else "short")) for at in range(200)]
            assert stream.send(sent) == Sent(1)
            wait_until(lambda: stream.confirmed() == 1, 20)
            out = tmp_path / "out.jsonl"
            wait_until(lambda: out.exists() and out.read_text().count("\n") == 200, 30, lambda: str(rsyslog.poll()))
            stream.close()
        finally:
            rsyslog.send_signal(signal.SIGTERM)
    parsed = [json.loads(line) for line in out.read_text().splitlines()]
    assert parsed[1]["msg"].lstrip("\ufeff") == text
    assert (parsed[1]["host"], parsed[1]["app"], parsed[1]["id"]) == ("here", "affidavit", "prompt")
    assert parsed[1]["data"] == '[affidavit@32473 shard="events/0"]'
    assert parsed[1]["pri"].startswith("13.") or "info" in parsed[1]["pri"]
