"""The demonstration, step by step. Each step shows what it did, and ends everything when it is not as it should be."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx

from affidavit.demo import litellm, native, otlp, tamper
from affidavit.demo.deployment import Deployment, Unexpected, wait_for
from affidavit.demo.load import send_load
from affidavit.layout import Layout
from affidavit.status import ShardStatus

TENANT = "acme"
GATEWAYS = ("litellm", "claude-code", "otel", "native")
LOAD_SECONDS = 4.0

COUNTS = (
    "SELECT gateway, kind, count() AS records, uniqExact(event_id) AS events FROM events WHERE topic = 'events' "
    "GROUP BY ALL ORDER BY ALL"
)


SESSIONS = "SELECT session_id, records, exchanges, tool_calls, gateways FROM sessions"


class Demonstration:
    """All steps over one deployment.

    Args:
        folder: empty; the data directory, its log and the copies go there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._deployment = Deployment(folder / "data")
        self._kept = folder / "older-ledger"

    def run(self) -> None:
        """Every step, in order.

        Raises:
            Unexpected: something is not as it should be.
        """
        deployment = self._deployment
        with deployment.running(), httpx.Client(trust_env=False, timeout=30) as client:
            say("1", f"affidavit up: collector {deployment.collector}, ClickHouse interface {deployment.query}")
            deployment.make_tokens(TENANT, GATEWAYS)
            self._send(client)
            self._await_signed_and_queryable(client)
            self._show_records()
            tamper.keep_ledger(self._layout, self._origin, self._kept)
            self._measure(client)
            self._verify_running()
        stopped = datetime.now(UTC).isoformat(timespec="seconds")
        self._verify_stopped(stopped)
        self._tamper(stopped)
        self._farewell()

    @property
    def _layout(self) -> Layout:
        return Layout(self._deployment.data)

    @property
    def _origin(self) -> str:
        return self._events_shard().origin

    def _send(self, client: httpx.Client) -> None:
        say("2", "gateways send, over HTTP and in their own formats")
        now = time.time()
        for parcel in [*litellm.parcels(now), *otlp.parcels(now), *native.parcels(now)]:
            answer = self._deployment.send(client, parcel)
            if answer.status_code != 200:
                raise Unexpected(f"{parcel.title}: got status {answer.status_code}: {answer.text[:300]}")
            rejected = f", {parcel.rejected} recorded as unparsed with its exact bytes" if parcel.rejected else ""
            form = ", chunked" if parcel.chunked else ", gzip" if parcel.gzip else ""
            line(f"{answer.status_code}  {parcel.title}  ({len(parcel.body):,} bytes{form}){rejected}")

    def _await_signed_and_queryable(self, client: httpx.Client) -> None:
        began = time.monotonic()

        def everywhere() -> int | None:
            shard = self._events_shard()
            [[rows]] = self._deployment.ask(client, "SELECT count() FROM events WHERE topic = 'events'")
            return shard.end if shard.unsigned == 0 and rows == shard.end > 0 else None

        sent = wait_for("everything to be signed and queryable", everywhere)
        say("3", f"{sent} records are signed and queryable, {time.monotonic() - began:.1f} s later")

    def _show_records(self) -> None:
        say("4", "what was recorded, by gateway and kind; a retry is more records of the same events")
        show(self._deployment.command("query", COUNTS).out)
        counts = {(row["gateway"], row["kind"]): row for row in self._deployment.json("query", COUNTS)["rows"]}
        expect(counts[("litellm", "unparsed")]["records"] == 1, "the broken line is recorded as unparsed")
        retried = counts[("litellm", "prompt")]
        expect(retried["records"] == retried["events"] + 2, "the retried batch shows as two repeats")
        for gateway in GATEWAYS:
            expect((gateway, "prompt") in counts, f"prompts of {gateway} are there")
        say("5", f"one session as a causal tree: affidavit timeline {litellm.SESSION}")
        show(self._deployment.command("timeline", litellm.SESSION).out)
        for session in (otlp.CODE_SESSION, otlp.AGENT_SESSION, native.SESSION):
            tree = self._deployment.json("timeline", session)
            expect(tree["events"] > 0 and not tree["gaps"], f"session {session} is whole")

    def _measure(self, client: httpx.Client) -> None:
        say("6", "a short load of native events, from four senders on this machine")
        full = send_load(self._deployment, seconds=LOAD_SECONDS, senders=4, batch=50, seed=1)
        signed, queryable = self._delays(client)
        half = send_load(self._deployment, seconds=LOAD_SECONDS, senders=4, batch=20, rate=full.rate / 2, seed=101)
        line(f"at full speed  {full.rate:7,.0f} events/s acknowledged, each durable before its answer")
        line(f"               last event signed {signed:.2f} s, queryable {queryable:.2f} s after its acknowledgement")
        line(
            f"at half load   {half.rate:7,.0f} events/s, acknowledgement p50 {half.quantile(0.5) * 1e3:.1f} ms, "
            f"p99 {half.quantile(0.99) * 1e3:.1f} ms for 20 events"
        )

    def _delays(self, client: httpx.Client) -> tuple[float, float]:
        """Seconds until everything acknowledged so far is signed, and until it is queryable."""
        began = time.monotonic()
        end = self._events_shard().end
        delays: dict[str, float] = {}

        def both() -> bool | None:
            if "queryable" not in delays:
                [[rows]] = self._deployment.ask(client, "SELECT count() FROM events WHERE topic = 'events'")
                if rows >= end:
                    delays["queryable"] = time.monotonic() - began
            if "signed" not in delays and self._events_shard().signed >= end:
                delays["signed"] = time.monotonic() - began
            return True if len(delays) == 2 else None

        wait_for("the load to be signed and queryable", both)
        return delays["signed"], delays["queryable"]

    def _verify_running(self) -> None:
        say("7", "verification while it runs: affidavit verify records --source clickhouse")
        show(self._deployment.command("verify", "records", "--source", "clickhouse").out)
        self._deployment.command("verify", "sql")
        line("affidavit verify sql, the same in plain SQL: exit code 0")

    def _verify_stopped(self, stopped: str) -> None:
        say("8", "stopped; the ledger and all three destinations, verified again")
        for arguments in (("log",), *(("records", "--source", name) for name in ("archive", "clickhouse", "bus"))):
            self._deployment.command("verify", *arguments, "--as-of", stopped)
            line(f"exit code 0  affidavit verify {' '.join(arguments)}")

    def _tamper(self, stopped: str) -> None:
        say("9", "tampering on copies, past the product, with every right on the machine")
        data = self._deployment.data
        changed = tamper.copy(data, "copy-clickhouse")
        self._caught(
            changed, tamper.change_byte_in_clickhouse(changed), 1, stopped, "records", "--source", "clickhouse"
        )
        removed = tamper.copy(data, "copy-archive")
        what = tamper.remove_record_from_archive(removed)
        self._caught(removed, what, 1, stopped, "records", "--source", "archive")
        shortened = tamper.copy(data, "copy-shortened")
        what = tamper.shorten_tail(shortened, self._origin, self._kept)
        self._caught(shortened, what, 2, stopped, "log")

    def _caught(self, copied: Layout, what: str, code: int, stopped: str, *arguments: str) -> None:
        line(what)
        result = Deployment(copied.root).command("verify", *arguments, "--as-of", stopped, expect=code)
        line(f"  exit code {code}  affidavit verify {' '.join(arguments)}")
        found = next((found for found in result.out.splitlines() if "✗" in found), "")
        expect(bool(found), "the report names what was found")
        line(f"  {found.strip()}")

    def _farewell(self) -> None:
        data = self._deployment.data
        say("10", "open it yourself")
        line(f"affidavit up --data {data}")
        line(f"affidavit timeline {otlp.CODE_SESSION} --data {data}")
        line(f"affidavit query --data {data} '{SESSIONS}'")
        line(f"everything of this run is in {self._folder}; remove it when you have seen enough")

    def _events_shard(self) -> ShardStatus:
        return next(shard for shard in self._deployment.status().shards if str(shard.shard) == "events/0")


def say(step: str, text: str) -> None:
    """The heading of a step."""
    sys.stdout.write(f"\n{step}. {text}\n")
    sys.stdout.flush()


def line(text: str) -> None:
    """One line of a step."""
    sys.stdout.write(f"   {text}\n")
    sys.stdout.flush()


def show(text: str) -> None:
    """What a command printed."""
    for printed in text.rstrip().splitlines():
        line(printed.rstrip())


def expect(holds: bool, what: str) -> None:
    """End the demonstration where something does not hold."""
    if not holds:
        raise Unexpected(f"not so: {what}")
