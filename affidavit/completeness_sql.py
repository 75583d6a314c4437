"""The questions that ``affidavit completeness`` asks, each bounded in time. Only metadata is read.

Times are those of the bus (``bus_time``), which is in the signed entry and by which the tables are partitioned.
``{since}`` and ``{until}`` bound the window; ``{margin_since}`` and ``{margin_until}`` a wider one, for what belongs to
the window and lies beyond its edges.
"""

from __future__ import annotations

_WINDOW = """bus_time >= parseDateTime64BestEffort({since:String}, 3, 'UTC')
    AND bus_time < parseDateTime64BestEffort({until:String}, 3, 'UTC')"""
_MARGIN = """bus_time >= parseDateTime64BestEffort({margin_since:String}, 3, 'UTC')
    AND bus_time < parseDateTime64BestEffort({margin_until:String}, 3, 'UTC')"""
_SCOPE = """({tenant:String} = '' OR tenant = {tenant:String})
    AND ({gateway:String} = '' OR gateway = {gateway:String})"""

PROVIDERS = ("bedrock", "vertex")
"""Formats that are a provider's own record of each exchange. An audit entry among them, which tells who called and not
what was said, bears no request id, and is none."""

_OWN = "('internal')"
_PROVIDER_FORMATS = ", ".join(f"'{name}'" for name in PROVIDERS)

COLLECTORS = f"""
SELECT collector_id, min(collector_sequence) AS first, max(collector_sequence) AS last,
    groupBitmap(toUInt64(collector_sequence)) AS numbers,
    toUnixTimestamp64Milli(min(bus_time)) AS from_ms, toUnixTimestamp64Milli(max(bus_time)) AS to_ms
FROM events WHERE {_WINDOW} AND collector_id != '' GROUP BY collector_id ORDER BY collector_id
"""
"""Every collector instance that has records in the window, and how many different numbers they bear."""

GAPS = f"""
SELECT collector_id, toInt64(previous + 1) AS first, toInt64(number - 1) AS last
FROM
(
    SELECT collector_id, collector_sequence AS number,
        lagInFrame(collector_sequence, 1, collector_sequence - 1) OVER (PARTITION BY collector_id
            ORDER BY collector_sequence ASC ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS previous
    FROM events WHERE {_MARGIN} AND has(JSONExtract({{ids:String}}, 'Array(String)'), collector_id)
)
WHERE number > previous + 1 ORDER BY collector_id, first LIMIT 10000
"""
"""The numbers between which some are missing, of the collectors where the counts say that some are."""

LAST_NUMBERS = f"""
SELECT collector_id, max(collector_sequence) AS last
FROM events WHERE {_MARGIN} AND has(JSONExtract({{ids:String}}, 'Array(String)'), collector_id) GROUP BY collector_id
"""

HEARTBEATS = f"""
SELECT JSONExtractString(extras['collector_id']) AS collector,
    argMax(JSONExtractString(extras['role']), bus_time) AS role,
    toUnixTimestamp64Milli(min(bus_time)) AS from_ms, toUnixTimestamp64Milli(max(bus_time)) AS to_ms,
    argMax(JSONExtractFloat(extras['interval_seconds']), bus_time) AS interval_seconds,
    max(JSONExtractInt(extras['settled'])) AS settled, max(JSONExtractInt(extras['lost'])) AS lost,
    argMax(JSONExtractInt(extras['spooled']), bus_time) AS spooled,
    max(JSONExtractBool(extras['final'])) AS final,
    intDiv(min(JSONExtractInt(extras['started_at'])), 1000) AS started_ms
FROM events WHERE {_WINDOW} AND format = 'internal' AND operation = 'collector.heartbeat' GROUP BY collector
ORDER BY collector
"""

EXPLAINED = f"""
SELECT JSONExtractString(extras['collector_id']) AS collector,
    JSONExtract(extras['first_and_last'], 'Array(Tuple(Int64, Int64))') AS ranges
FROM events WHERE {_MARGIN} AND format = 'internal' AND operation = 'collector.gap' AND extras['collector_id'] != ''
"""
"""Numbers that a collector gave to events which it did not acknowledge: their senders were told to send again."""

BATCHES = f"""
SELECT any(sender) AS gateway, any(digest) AS body_sha256, max(states) AS stated, max(stores) AS stored,
    toUnixTimestamp64Milli(min(first)) AS at_ms
FROM
(
    SELECT any(gateway) AS sender, any(body_sha256) AS digest, any(unit_count) AS states,
        uniqExact(toUInt32(unit_index)) AS stores, min(bus_time) AS first, cityHash64(gateway, body_sha256) AS body
    FROM events WHERE {_MARGIN} AND unit_count > 1 AND {_SCOPE}
    GROUP BY body, cityHash64(collector_id, received_at)
)
GROUP BY body
HAVING stored < stated
    AND min(first) >= parseDateTime64BestEffort({{since:String}}, 3, 'UTC')
    AND min(first) < parseDateTime64BestEffort({{until:String}}, 3, 'UTC')
ORDER BY at_ms LIMIT 1000
"""
"""Bodies of several records of which not all are there, and which were not sent again in full."""

SEQUENCES = f"""
SELECT gateway, tenant, session_id, previous + 1 AS first, here - 1 AS last, toUnixTimestamp64Milli(at) AS at_ms
FROM
(
    SELECT gateway, tenant, session_id, assumeNotNull(sequence) AS here, bus_time AS at,
        lagInFrame(assumeNotNull(sequence), 1, assumeNotNull(sequence) - 1) OVER (
            PARTITION BY gateway, tenant, session_id
            ORDER BY occurred_at ASC, sequence ASC ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS previous
    FROM events WHERE {_MARGIN} AND sequence IS NOT NULL AND session_id != '' AND format != 'internal' AND {_SCOPE}
)
WHERE here > previous + 1
    AND at >= parseDateTime64BestEffort({{since:String}}, 3, 'UTC')
    AND at < parseDateTime64BestEffort({{until:String}}, 3, 'UTC')
ORDER BY gateway, session_id, first LIMIT 1000
"""
"""Jumps in the numbers that a source itself gives its records within a session. A number that falls back is a source
that began again."""

GATEWAYS = f"""
SELECT tenant, gateway, format, count() AS records, uniq(exchange_id) AS exchanges,
    countIf(sequence IS NOT NULL) AS numbered,
    countIf(unit_count > 1) AS batched, countIf(kind = 'unparsed') AS unparsed
FROM events WHERE {_WINDOW} AND format NOT IN {_OWN} AND {_SCOPE} GROUP BY tenant, gateway, format
ORDER BY tenant, gateway, format
"""

RHYTHM = f"""
SELECT tenant, gateway, toUnixTimestamp(toStartOfHour(bus_time)) AS hour, count() AS records,
    toUnixTimestamp64Milli(max(bus_time)) AS last_ms
FROM events
WHERE bus_time >= parseDateTime64BestEffort({{since:String}}, 3, 'UTC') - INTERVAL 35 DAY
    AND bus_time < parseDateTime64BestEffort({{until:String}}, 3, 'UTC')
    AND format NOT IN {_OWN} AND {_SCOPE}
GROUP BY tenant, gateway, hour ORDER BY tenant, gateway, hour
"""
"""Records by hour, five weeks back."""

FEEDS = f"""
SELECT JSONExtractString(extras['feed']) AS feed, JSONExtractInt(extras['from']) AS from_us,
    JSONExtractInt(extras['to']) AS to_us, JSONExtractInt(extras['records']) AS records
FROM events WHERE {_MARGIN} AND format = 'internal' AND operation = 'feed_covered' ORDER BY feed, from_us, to_us
"""
"""Stretches of time for which a feed was read to the end."""

_IDS = "[request_id_provider, request_id_cloud, request_id_response, request_id_client, request_id_gateway]"
_KNOWN = f"""
    SELECT DISTINCT arrayJoin(arrayFilter(one -> one != '', {_IDS})) AS id
    FROM events WHERE {_MARGIN} AND kind = 'response' AND format NOT IN ('internal', {_PROVIDER_FORMATS})
        AND ({{tenant:String}} = '' OR tenant = {{tenant:String}})"""
_EXCHANGE = """tenant, gateway, format, event_id, topic, partition, offset,
    coalesce(nullIf(request_id_cloud, ''), nullIf(request_id_provider, ''), request_id_response) AS request_id,
    coalesce(nullIf(model_served, ''), model_requested) AS model,
    coalesce(nullIf(user_email, ''), nullIf(user_id, ''), nullIf(cloud_principal, ''), end_user_id) AS who,
    toUnixTimestamp64Milli(coalesce(ended_at, occurred_at)) AS at_ms, input_tokens, output_tokens"""

ONLY_PROVIDER = f"""
SELECT {_EXCHANGE}
FROM events
WHERE {_WINDOW} AND kind = 'response' AND format IN ({_PROVIDER_FORMATS}) AND request_id_cloud != ''
    AND ({{tenant:String}} = '' OR tenant = {{tenant:String}})
    AND request_id_cloud NOT IN ({_KNOWN}) AND request_id_provider NOT IN ({_KNOWN})
    AND request_id_response NOT IN ({_KNOWN})
ORDER BY at_ms LIMIT 10000
"""
"""Exchanges in a provider's own record, whose ids no gateway's record bears."""

_TOLD_CLOUD = f"""
    SELECT request_id_cloud FROM events
    WHERE {_MARGIN} AND format IN ({_PROVIDER_FORMATS}) AND request_id_cloud != ''"""
_TOLD_RESPONSES = f"""
    SELECT request_id_response FROM events
    WHERE {_MARGIN} AND format IN ({_PROVIDER_FORMATS}) AND request_id_response != ''"""

ONLY_GATEWAY = f"""
SELECT {_EXCHANGE}
FROM events
WHERE {_WINDOW} AND kind = 'response' AND format NOT IN ('internal', {_PROVIDER_FORMATS})
    AND has(JSONExtract({{paths:String}}, 'Array(String)'), model_path) AND {_SCOPE}
    AND request_id_cloud NOT IN ({_TOLD_CLOUD}) AND request_id_provider NOT IN ({_TOLD_CLOUD})
    AND request_id_response NOT IN ({_TOLD_RESPONSES})
ORDER BY at_ms LIMIT 10000
"""
"""Exchanges that a gateway says went by way of such a provider, and that the provider's record does not know."""

PROVIDER_SPANS = f"""
SELECT format, count() AS exchanges, toUnixTimestamp64Milli(min(occurred_at)) AS from_ms,
    toUnixTimestamp64Milli(max(occurred_at)) AS to_ms
FROM events WHERE {_WINDOW} AND kind = 'response' AND format IN ({_PROVIDER_FORMATS}) AND request_id_cloud != ''
    AND ({{tenant:String}} = '' OR tenant = {{tenant:String}})
GROUP BY format ORDER BY format
"""
