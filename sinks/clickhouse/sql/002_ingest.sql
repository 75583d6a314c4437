-- One insert feeds both tables. `ingest` keeps nothing; `into` says which tables a row is for (1 events, 2 contents, 3 both),
-- so that the sink can repair the one that a crash left short. Both targets have deduplication windows of their own.

CREATE TABLE ingest
ENGINE = Null
EMPTY AS SELECT toUInt8(0) AS into, events.* EXCEPT inserted_at, contents.content, contents.content_salt, contents.source, contents.source_salt
FROM events CROSS JOIN contents;

CREATE MATERIALIZED VIEW ingest_events TO events
AS SELECT * EXCEPT (into, content, content_salt, source, source_salt) FROM ingest WHERE bitTest(into, 0);

CREATE MATERIALIZED VIEW ingest_contents TO contents
AS SELECT topic, partition, offset, bus_time, tenant, kind, event_id, exchange_id, session_id, occurred_at, entry_kind,
    content_status, source_status, content, content_salt, source, source_salt
FROM ingest WHERE bitTest(into, 1);
