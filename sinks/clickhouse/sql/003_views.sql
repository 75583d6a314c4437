-- Views for people. They read `events` alone, so whoever may not read content may read these.
-- A record that its gateway sent twice has one event id and two rows; `uniqExact(event_id)` counts it once.

CREATE VIEW sessions AS
SELECT
    tenant,
    session_id,
    min(occurred_at) AS first_at,
    max(occurred_at) AS last_at,
    count() AS records,
    uniqExact(event_id) AS distinct_events,
    uniqExactIf(exchange_id, exchange_id != '') AS exchanges,
    countIf(kind = 'prompt') AS prompts,
    countIf(kind = 'response') AS responses,
    countIf(kind = 'tool_call') AS tool_calls,
    countIf(kind = 'guardrail') AS guardrails,
    countIf(outcome = 'blocked') AS blocked,
    countIf(outcome = 'error') AS errors,
    sum(input_tokens) AS sum_input_tokens,
    sum(output_tokens) AS sum_output_tokens,
    sum(cost_amount) AS sum_cost,
    arraySort(groupUniqArrayIf(32)(gateway, gateway != '')) AS gateways,
    arraySort(groupUniqArrayIf(32)(user_id, user_id != '')) AS users,
    arraySort(groupUniqArrayIf(32)(model_served, model_served != '')) AS models,
    arraySort(groupUniqArrayIf(64)(tool_name, tool_name != '')) AS tools,
    countIf(content_state NOT IN ('', 'full')) AS not_full
FROM events
WHERE session_id != ''
GROUP BY tenant, session_id;

CREATE VIEW exchanges AS
SELECT
    tenant,
    exchange_id,
    anyIf(session_id, session_id != '') AS any_session_id,
    min(occurred_at) AS first_at,
    max(occurred_at) AS last_at,
    count() AS records,
    uniqExact(event_id) AS distinct_events,
    anyIf(gateway, gateway != '') AS any_gateway,
    anyIf(user_id, user_id != '') AS any_user_id,
    anyIf(model_requested, model_requested != '') AS any_model_requested,
    anyIf(model_served, model_served != '') AS any_model_served,
    max(input_tokens) AS max_input_tokens,
    max(output_tokens) AS max_output_tokens,
    max(cost_amount) AS max_cost,
    max(latency_ms) AS max_latency_ms,
    countIf(kind = 'tool_call') AS tool_calls,
    arraySort(groupUniqArrayIf(16)(outcome, outcome != '')) AS outcomes,
    arraySort(groupUniqArrayIf(16)(stop_reason, stop_reason != '')) AS stop_reasons
FROM events
WHERE exchange_id != ''
GROUP BY tenant, exchange_id;

-- A call, what was decided about it, and what came back; a call without a result has `results` = 0.
CREATE VIEW tool_calls AS
SELECT
    tenant,
    call_id,
    anyIf(session_id, session_id != '') AS any_session_id,
    anyIf(tool_name, tool_name != '') AS any_tool_name,
    anyIf(tool_server, tool_server != '') AS any_tool_server,
    anyIf(user_id, user_id != '') AS any_user_id,
    minIf(occurred_at, kind = 'tool_call') AS called_at,
    minIf(occurred_at, kind = 'tool_result') AS answered_at,
    countIf(kind = 'tool_call') AS calls,
    countIf(kind = 'tool_result') AS results,
    anyIf(tool_decision, tool_decision != '') AS decision,
    anyIf(tool_decision_by, tool_decision_by != '') AS decided_by,
    max(tool_is_error) AS is_error,
    max(tool_duration_ms) AS duration_ms
FROM events
WHERE call_id != ''
GROUP BY tenant, call_id;

-- The events of a session in the order of their source's clock, then of the log: filter by session_id.
CREATE VIEW timeline AS
SELECT
    tenant,
    session_id,
    occurred_at,
    kind,
    exchange_id,
    prompt_id,
    call_id,
    event_id,
    parent_event_id,
    span_id,
    parent_span_id,
    sequence,
    gateway,
    coalesce(nullIf(user_id, ''), nullIf(end_user_id, ''), nullIf(agent_id, ''), '') AS who,
    coalesce(nullIf(tool_name, ''), nullIf(model_served, ''), nullIf(model_requested, ''), '') AS what,
    outcome,
    tool_decision,
    guardrail_verdict,
    content_state,
    metadata_status,
    content_status,
    topic,
    partition,
    offset,
    concat(topic, '/', toString(partition), '@', toString(offset)) AS address
FROM events;
