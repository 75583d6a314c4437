"""The dashboards of the Splunk app, panel by panel. Data only; :mod:`build` makes Dashboard Studio's JSON of it.

Searches begin with a macro of ``macros.conf`` and name fields that the sink emits (docs/splunk.md) or ``props.conf``
derives; a test checks both. A record that was sent twice has one ``event_id``: what is counted is ``dc(event_id)``.
"""

from __future__ import annotations

from typing import NamedTuple


class Panel(NamedTuple):
    """One panel.

    Attributes:
        title: above it.
        kind: of Dashboard Studio's visualizations, without ``splunk.``.
        query: SPL.
        width: of twelve columns.
        height: in pixels.
        options: of the visualization.
    """

    title: str
    kind: str
    query: str
    width: int = 6
    height: int = 280
    options: dict[str, object] = {}  # noqa: RUF012  read only


class Input(NamedTuple):
    """A text box: ``token`` is ``*`` until somebody types."""

    token: str
    title: str


class Dashboard(NamedTuple):
    """One view."""

    name: str
    title: str
    description: str
    inputs: tuple[Input, ...]
    panels: tuple[Panel, ...]


def single(title: str, query: str) -> Panel:
    """One number, a quarter wide."""
    return Panel(title, "singlevalue", query, 3, 140)


FILTER = (Input("tenant", "Tenant"),)
EVENTS = '`affidavit_events` tenant="$tenant$"'
ABOUT = (
    f'{EVENTS} "$user$" "$session$" | fillnull value="-" user session_id | search user="$user$" session_id="$session$"'
)
"""Of one person and one session. The words first, which the index finds; then the fields, of which either may be absent."""

OVERVIEW = Dashboard(
    "affidavit_overview",
    "Overview",
    "What people and agents did with models: how much, through what, and how it ended.",
    FILTER,
    (
        single("Events", f"{EVENTS} | stats dc(event_id) as events"),
        single("People", f"{EVENTS} | stats dc(user) as people"),
        single("Sessions", f"{EVENTS} | stats dc(session_id) as sessions"),
        single("Blocked", f"{EVENTS} outcome=blocked | stats dc(event_id) as blocked"),
        Panel(
            "Events by kind",
            "column",
            f"{EVENTS} | timechart dc(event_id) by kind",
            8,
            options={"stackMode": "stacked"},
        ),
        Panel("How it ended", "pie", f"{EVENTS} outcome=* | stats dc(event_id) as events by outcome", 4),
        Panel(
            "Models",
            "bar",
            f"{EVENTS} kind=response | eval served=coalesce(model_served, model_routed, model_requested) "
            "| stats dc(event_id) as responses by served | sort 10 - responses",
        ),
        Panel(
            "Ways to the models",
            "table",
            f"{EVENTS} kind=response | stats dc(event_id) as responses dc(user) as people by gateway provider model_path region "
            "| sort - responses",
        ),
        Panel(
            "Most active people",
            "table",
            f"{EVENTS} user=* | stats dc(event_id) as events dc(session_id) as sessions sum(total_tokens) as tokens "
            'latest(_time) as last by user | sort 20 - events | fieldformat last=strftime(last, "%F %T")',
        ),
        Panel(
            "Errors",
            "table",
            f"{EVENTS} outcome=error | stats dc(event_id) as errors latest(_time) as last by gateway provider error_type "
            'http_status | sort 20 - errors | fieldformat last=strftime(last, "%F %T")',
        ),
    ),
)

INVESTIGATION = Dashboard(
    "affidavit_investigation",
    "User and session",
    "Everything that one person, or one session, asked, got and let tools do, in order.",
    (Input("tenant", "Tenant"), Input("user", "User"), Input("session", "Session")),
    (
        single("Events", f"{ABOUT} | stats dc(event_id) as events"),
        single("Tool calls", f"{ABOUT} kind=tool_call | stats dc(event_id) as calls"),
        single("Blocked", f"{ABOUT} outcome=blocked | stats dc(event_id) as blocked"),
        single("Tokens", f"{ABOUT} | stats sum(total_tokens) as tokens"),
        Panel(
            "Sessions",
            "table",
            f"{ABOUT} | stats min(_time) as began max(_time) as ended "
            "dc(event_id) as events values(kind) as kinds values(model_served) as models values(client_ip) as addresses "
            'by session_id user | sort 100 - began | fieldformat began=strftime(began, "%F %T") '
            '| fieldformat ended=strftime(ended, "%F %T")',
            12,
        ),
        Panel(
            "In order",
            "table",
            f"{ABOUT} | dedup event_id | sort 500 _time affidavit_offset "
            '| spath output=words path=content | eval words=substr(words, 1, 400), ref=shard."@".offset '
            "| table _time kind user model_requested tool_name outcome words ref",
            12,
            520,
        ),
        Panel(
            "Where from",
            "table",
            f"{ABOUT} | stats dc(event_id) as events min(_time) as first max(_time) as last "
            "by client_ip device_id user_agent assurance | sort 50 - events "
            '| fieldformat first=strftime(first, "%F %T") | fieldformat last=strftime(last, "%F %T")',
            12,
        ),
    ),
)

TOOLS = Dashboard(
    "affidavit_tools",
    "Tool calls and MCP",
    "What models let tools do: which tools, on which servers, allowed by whom, with what effect.",
    FILTER,
    (
        single("Tool calls", f"{EVENTS} kind=tool_call | stats dc(event_id) as calls"),
        single("Tools", f"{EVENTS} kind=tool_call | stats dc(tool_name) as tools"),
        single("MCP servers", f"{EVENTS} tool_server=* | stats dc(tool_server) as servers"),
        single("Failed", f"{EVENTS} kind=tool_result tool_is_error=true | stats dc(event_id) as failed"),
        Panel(
            "Calls by tool",
            "column",
            f"{EVENTS} kind=tool_call | timechart limit=10 dc(event_id) by tool_name",
            8,
            options={"stackMode": "stacked"},
        ),
        Panel("Decisions", "pie", f"{EVENTS} tool_decision=* | stats dc(event_id) as calls by tool_decision", 4),
        Panel(
            "Tools by risk",
            "table",
            f"{EVENTS} kind=tool_call | lookup affidavit_tool_risk tool_name OUTPUT risk reason "
            "| stats dc(event_id) as calls dc(user) as people by risk tool_name tool_server reason | sort - risk calls",
            12,
        ),
        Panel(
            "MCP servers",
            "table",
            f"{EVENTS} tool_server=* | stats dc(event_id) as events dc(tool_name) as tools dc(user) as people "
            "min(_time) as first by tool_server tool_server_url | sort - first "
            '| fieldformat first=strftime(first, "%F %T")',
        ),
        Panel(
            "How long results take",
            "table",
            f"{EVENTS} kind=tool_result tool_duration_ms=* | stats dc(event_id) as results p50(tool_duration_ms) as p50 "
            "p95(tool_duration_ms) as p95 max(tool_duration_ms) as longest by tool_name | sort 20 - results",
        ),
        Panel(
            "Who decides",
            "table",
            f"{EVENTS} tool_decision=* | stats dc(event_id) as calls by tool_name tool_decision tool_decision_by "
            "tool_decision_rule | sort 50 - calls",
            12,
        ),
    ),
)

GUARDRAILS = Dashboard(
    "affidavit_guardrails",
    "Guardrails and DLP",
    "What was stopped or flagged, by which rule, for whom; and data that should not have been there.",
    FILTER,
    (
        single("Verdicts", f"{EVENTS} kind=guardrail | stats dc(event_id) as verdicts"),
        single("Blocked", f"{EVENTS} outcome=blocked | stats dc(event_id) as blocked"),
        single("DLP findings", f"{EVENTS} dlp_verdict=* | stats dc(event_id) as findings"),
        single("People affected", f"{EVENTS} (outcome=blocked OR dlp_verdict=*) | stats dc(user) as people"),
        Panel(
            "Verdicts",
            "column",
            f"{EVENTS} kind=guardrail | timechart dc(event_id) by guardrail_verdict",
            8,
            options={"stackMode": "stacked"},
        ),
        Panel("Actions", "pie", f"{EVENTS} guardrail_action=* | stats dc(event_id) as events by guardrail_action", 4),
        Panel(
            "Guardrails",
            "table",
            f"{EVENTS} kind=guardrail | stats dc(event_id) as verdicts dc(user) as people by guardrail_name guardrail_provider "
            "guardrail_mode guardrail_verdict policy_id policy_version | sort 50 - verdicts",
            12,
        ),
        Panel(
            "DLP rules",
            "table",
            f"{EVENTS} dlp_rules{{}}=* | rename dlp_rules{{}} as rule data_categories{{}} as category | mvexpand rule "
            "| stats dc(event_id) as findings dc(user) as people values(category) as categories by rule dlp_verdict "
            "| sort 50 - findings",
        ),
        Panel(
            "People with most blocks",
            "table",
            f"{EVENTS} outcome=blocked user=* | stats dc(event_id) as blocked dc(session_id) as sessions by user tenant "
            "| sort 20 - blocked",
        ),
        Panel(
            "Classification",
            "bar",
            f"{EVENTS} classification=* | stats dc(event_id) as events by classification | sort - events",
        ),
        Panel(
            "Content that was not captured whole",
            "table",
            f"{EVENTS} content_state=* content_state!=full | stats dc(event_id) as events by gateway format content_state "
            "| sort - events",
        ),
    ),
)

COST = Dashboard(
    "affidavit_cost",
    "Cost and tokens",
    "What it costs, who spends it, and how long people wait.",
    FILTER,
    (
        single("Tokens in", f"{EVENTS} kind=response | dedup event_id | stats sum(input_tokens) as tokens"),
        single("Tokens out", f"{EVENTS} kind=response | dedup event_id | stats sum(output_tokens) as tokens"),
        single("Cost", f"{EVENTS} kind=response | dedup event_id | stats sum(cost_amount) as cost"),
        single("p95 latency, ms", f"{EVENTS} kind=response | stats p95(latency_ms) as latency"),
        Panel(
            "Tokens by model",
            "area",
            f"{EVENTS} kind=response | dedup event_id | timechart limit=8 sum(total_tokens) by model_served",
            12,
            options={"stackMode": "stacked"},
        ),
        Panel(
            "By team",
            "table",
            f"{EVENTS} kind=response | dedup event_id | stats sum(cost_amount) as cost sum(input_tokens) as tokens_in "
            "sum(cache_read_tokens) as from_cache sum(output_tokens) as tokens_out dc(user) as people by team_name "
            "business_unit cost_currency | sort 50 - cost",
        ),
        Panel(
            "By person",
            "table",
            f"{EVENTS} kind=response user=* | dedup event_id | stats sum(cost_amount) as cost sum(total_tokens) as tokens "
            "count as responses by user cost_currency | sort 50 - cost",
        ),
        Panel(
            "How long people wait",
            "line",
            f"{EVENTS} kind=response | timechart p50(latency_ms) as p50 p95(latency_ms) as p95 p95(time_to_first_token_ms) "
            "as first_token_p95",
        ),
        Panel(
            "Unusually many tokens",
            "table",
            f"{EVENTS} kind=response user=* | dedup event_id | bin _time span=1h | stats sum(total_tokens) as tokens by _time user "
            "| eventstats avg(tokens) as usual stdev(tokens) as spread by user | where tokens > usual + 3 * spread "
            "| sort 50 - tokens | table _time user tokens usual",
        ),
    ),
)

INTEGRITY = Dashboard(
    "affidavit_integrity",
    "Integrity and completeness",
    "Whether everything that was recorded is here, once, and as it was; and what was done with the log itself. Proof is "
    "with affidavit verify: this page shows where to look.",
    (),
    (
        Panel(
            "Numbers without a record, by shard",
            "table",
            "| tstats count dc(affidavit_offset) as records min(affidavit_offset) as first max(affidavit_offset) as last "
            "where `affidavit_index` by affidavit_deployment affidavit_shard | eval absent=last-first+1-records, "
            "repeats=count-records | table affidavit_deployment affidavit_shard first last records absent repeats",
            12,
            240,
        ),
        Panel(
            "Blocks of a thousand with absent numbers",
            "table",
            "| tstats dc(affidavit_offset) as records min(_time) as began max(_time) as ended where `affidavit_index` by "
            "affidavit_deployment affidavit_shard affidavit_block | eventstats max(affidavit_block) as newest "
            "min(affidavit_block) as oldest by affidavit_deployment affidavit_shard | where records < 1000 AND "
            'affidavit_block > oldest AND affidavit_block < newest | fieldformat began=strftime(began, "%F %T") '
            '| fieldformat ended=strftime(ended, "%F %T") | sort 100 - affidavit_block',
            12,
        ),
        Panel(
            "Parts that are not as they should be",
            "table",
            "`affidavit_events` (content_status=* OR metadata_status=*) | stats dc(event_id) as events latest(status_reason) as "
            "reason by content_status metadata_status tenant | sort - events",
        ),
        Panel(
            "What gateways sent and nobody could read",
            "table",
            "`affidavit_events` kind=unparsed | stats dc(event_id) as events latest(_time) as last by gateway format error_message "
            '| sort - events | fieldformat last=strftime(last, "%F %T")',
        ),
        Panel(
            "From the event to here",
            "line",
            "`affidavit_events` | eval delay=_indextime-_time | timechart p50(delay) as p50 p95(delay) as p95 max(delay) as longest",
        ),
        Panel(
            "Content shortened for Splunk",
            "table",
            "`affidavit_events` content.shortened=true | stats dc(event_id) as events max(content.bytes) as largest by gateway kind "
            "| sort - events",
        ),
        Panel(
            "What was done with the log",
            "table",
            "`affidavit_control` | dedup event_id | sort 200 - _time | spath output=details path=content "
            "| table _time operation user outcome tenant details",
            12,
            420,
        ),
        Panel(
            "Who read content",
            "table",
            "`affidavit_control` operation=content.read | stats dc(event_id) as reads latest(_time) as last by user tenant "
            '| sort - reads | fieldformat last=strftime(last, "%F %T")',
        ),
        Panel(
            "Senders that fell silent",
            "table",
            "| tstats max(_time) as last count where `affidavit_index` earliest=-7d by affidavit_tenant source "
            '| where last < now() - 3600 | sort last | fieldformat last=strftime(last, "%F %T")',
        ),
    ),
)

DASHBOARDS = (OVERVIEW, INVESTIGATION, TOOLS, GUARDRAILS, COST, INTEGRITY)
