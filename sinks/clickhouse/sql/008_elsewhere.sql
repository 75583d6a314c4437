-- Parts of more than some megabytes stay in the object store; their status is `elsewhere`, and their columns are empty.
-- What it takes to open them, beside the object and the key, is in `elsewhere`, so that a verification needs no other record.

ALTER TABLE contents ADD COLUMN IF NOT EXISTS content_object String CODEC(ZSTD(1)) COMMENT 'object of the object store that holds the sealed content, where content_status is elsewhere' AFTER source_pieces;

ALTER TABLE contents ADD COLUMN IF NOT EXISTS source_object String CODEC(ZSTD(1)) COMMENT 'object of the object store that holds the sealed source, where source_status is elsewhere' AFTER content_object;

ALTER TABLE contents ADD COLUMN IF NOT EXISTS elsewhere String CODEC(ZSTD(1)) COMMENT 'Avro record.v1 with the parts that are elsewhere, without their ciphertext; empty where there are none' AFTER source_object;

ALTER TABLE ingest ADD COLUMN IF NOT EXISTS content_object String AFTER source_pieces;

ALTER TABLE ingest ADD COLUMN IF NOT EXISTS source_object String AFTER content_object;

ALTER TABLE ingest ADD COLUMN IF NOT EXISTS elsewhere String AFTER source_object;

ALTER TABLE ingest_events MODIFY QUERY
SELECT * EXCEPT (into, content, content_salt, source, source_salt, source_pieces, content_object, source_object, elsewhere) FROM ingest WHERE bitTest(into, 0);

ALTER TABLE ingest_contents MODIFY QUERY
SELECT topic, partition, offset, bus_time, tenant, kind, event_id, exchange_id, session_id, occurred_at, entry_kind,
    content_status, source_status, content, content_salt, source, source_salt, source_pieces, content_object, source_object, elsewhere
FROM ingest WHERE bitTest(into, 1);

ALTER TABLE events COMMENT COLUMN sealed_bytes 'bytes of the record on the bus, and of its parts that were fetched from the object store';

-- What was too large for a row, and where it lies.
CREATE VIEW large_parts AS
SELECT tenant, topic, partition, offset, bus_time, kind, event_id, exchange_id, session_id, part, object
FROM contents
ARRAY JOIN ['content', 'source'] AS part, [content_object, source_object] AS object
WHERE object != '';
