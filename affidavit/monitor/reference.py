"""The reference page of the metrics: ``python -m affidavit.monitor.reference > docs/metrics.md``."""

from __future__ import annotations

from affidavit.monitor.families import SECTIONS, Family
from affidavit.monitor.pulse import BEAT_SECONDS, STUCK_SECONDS
from affidavit.monitor.reception import NO_ANSWER, OTHER, REASONS

_REASONS = ", ".join(f"`{reason}`" for reason in REASONS)

_HEAD = f"""# Health and metrics

This page is made by `python -m affidavit.monitor.reference` from the table that the program itself uses; change that,
not this.

Every process (`affidavit up`, `affidavit run ROLE`) has a listener of its own for whoever watches it, on
127.0.0.1:9464 unless `[monitor]` in `affidavit.toml` says otherwise. Processes that share a machine need a port each,
such as `AFFIDAVIT_MONITOR_PORT` gives them: of those that were told none, the first has 9464 and the others take a free
one, and say which. 0 takes a free one, and `enabled = false` switches the listener off.

| path | 200 | 503 |
|---|---|---|
| `/metrics` | Prometheus text; OpenMetrics where `Accept` asks for it | |
| `/livez` | the event loop of every role turns | names roles whose loop was silent for {STUCK_SECONDS:g} s: restart |
| `/readyz` | every role can do its work | names those that cannot, and why |

`?verbose`, or `Accept: application/json`, gives JSON:
`{{"status": …, "roles": {{"signer": {{"ready": false, "reason": …}}}}}}`. The listener has a thread and an event loop
of its own, so that it answers also when a role does not. A loop says every {BEAT_SECONDS:g} s that it turns.

**Ready** means: the collector listens and can make events durable; every shard of the signer has its log open and
none has halted; no feed of the poller was refused what it asks for; every sink is open and no shard of it has failed. A
paused sink is ready, for it goes on by itself when its cause is mended; its lag and its pause show. A process that has
been told to stop is not ready, and stays live until it has finished.

## Who may read it

Metrics hold no content, no personal data, and no name of a tenant, user, key or model: labels are roles, shards,
sinks, names that the settings give to feeds, states, kinds of events, formats, routes, and words from lists in the
program. They do tell facts of the
deployment: how much traffic there is and when, how many shards, which version. Reasons of `/readyz` may name hosts and
paths. So the listener is on loopback by default, refuses an address on a network unless told that a TLS proxy stands
in front, and asks for `Authorization: Bearer …` when `AFFIDAVIT_MONITOR_TOKEN` is set. With a token, `/livez` and
`/readyz` still answer anybody, because orchestrators have none, but give the names of roles only.

    scrape_configs:
      - job_name: affidavit
        scrape_interval: 15s
        static_configs:
          - targets: ["127.0.0.1:9464"]

Alert rules are in [deploy/prometheus](../deploy/prometheus/affidavit.rules.yaml), a dashboard is in
[deploy/grafana](../deploy/grafana/affidavit.json).

## How to read it

* Counters begin at 0 with the process. A sink's counters of a shard that went to another process stay, so that sums
  never fall; gauges, and all that the signer tells of a shard, go with the shard.
* With several processes, a shard's gauges come from whoever owns it: aggregate gauges with `max by (shard)` and
  counters with `sum by (…)`.
* Requests that the server itself turns away (more than 1000 connections, a malformed head) reach no route and are not
  counted. A path that takes no events is `route="{OTHER}"`. `status="{NO_ANSWER}"`: the process stopped first.
* A request that is not acknowledged is refused, with one of these reasons: {_REASONS}.
  A body that cannot be decompressed is refused as `malformed` and recorded all the same, as one event which is not
  among the accepted ones. Of a batch that fails half way, the first half may be stored: it counts as refused, and
  the sender's repeat has the same event ids.
* Ages compare a clock of the bus with the clock of the process: run NTP.
* `process_…` and `python_info` are those of every Prometheus client in Python.
"""


def page() -> str:
    """The whole page, as Markdown."""
    return _HEAD + "".join(_section(title, group) for title, group in SECTIONS)


def _section(title: str, group: tuple[Family, ...]) -> str:
    rows = "".join(_row(family) for family in group)
    return f"\n## {title}\n\n| metric | kind | labels | what it says |\n|---|---|---|---|\n{rows}"


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.full_name}` | {family.kind} | {labels} | {family.text} |\n"


if __name__ == "__main__":
    print(page(), end="")
