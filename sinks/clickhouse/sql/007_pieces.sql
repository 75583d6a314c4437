-- A source that repeats earlier ones of its session holds its own bytes alone; `source_pieces` says how to put it together.
-- Pieces of the own bytes name the row itself. Rows that are referred to lie on the same day, in the same session.

ALTER TABLE contents ADD COLUMN IF NOT EXISTS source_pieces Array(Tuple(partition UInt32, offset UInt64, start UInt64, length UInt64)) CODEC(ZSTD(3)) COMMENT 'joined, they are the source: length bytes from byte start on (0: the first) of column source of the row at that partition and offset of the same topic; empty: column source is the source' AFTER source_salt;

ALTER TABLE ingest ADD COLUMN IF NOT EXISTS source_pieces Array(Tuple(partition UInt32, offset UInt64, start UInt64, length UInt64)) AFTER source_salt;

ALTER TABLE ingest_events MODIFY QUERY
SELECT * EXCEPT (into, content, content_salt, source, source_salt, source_pieces) FROM ingest WHERE bitTest(into, 0);

ALTER TABLE ingest_contents MODIFY QUERY
SELECT topic, partition, offset, bus_time, tenant, kind, event_id, exchange_id, session_id, occurred_at, entry_kind,
    content_status, source_status, content, content_salt, source, source_salt, source_pieces
FROM ingest WHERE bitTest(into, 1);

-- Sources put together. Filter by session_id, or by day and shard: what is not asked for is not read. `missing` counts the
-- pieces whose rows are gone; then `whole_source` is empty.
CREATE VIEW whole_sources AS
SELECT topic, partition, offset, bus_time, tenant, kind, event_id, exchange_id, session_id, occurred_at, source_status,
    toUInt64(0) AS missing, source AS whole_source, source_salt
FROM contents
WHERE empty(source_pieces)
UNION ALL
SELECT asked.topic AS topic, asked.partition AS partition, asked.offset AS offset, asked.bus_time AS bus_time,
    asked.tenant AS tenant, any(asked.kind) AS kind, any(asked.event_id) AS event_id, any(asked.exchange_id) AS exchange_id,
    asked.session_id AS session_id, any(asked.occurred_at) AS occurred_at, any(asked.source_status) AS source_status,
    countIf(length(held.source) < piece.start + piece.length) AS missing,
    if(missing = 0, arrayStringConcat(arrayMap(one -> one.2, arraySort(one -> one.1, groupArray((number, substring(held.source, piece.start + 1, piece.length)))))), '') AS whole_source,
    any(asked.source_salt) AS source_salt
FROM
(
    SELECT topic, partition, offset, bus_time, tenant, kind, event_id, exchange_id, session_id, occurred_at, source_status, source_salt, piece, number
    FROM contents
    ARRAY JOIN source_pieces AS piece, arrayEnumerate(source_pieces) AS number
) AS asked
LEFT JOIN contents AS held
    ON held.tenant = asked.tenant AND held.session_id = asked.session_id AND held.topic = asked.topic
    AND held.partition = asked.piece.partition AND held.offset = asked.piece.offset
GROUP BY asked.topic, asked.partition, asked.offset, asked.bus_time, asked.tenant, asked.session_id;

-- As in 004, and sources that are in pieces are put together first. What is asked of a whole shard holds all of its repeated
-- sources in memory: ask by topic, partition and ranges of offset where sessions are long.
CREATE OR REPLACE VIEW integrity_parts AS
SELECT topic, partition, offset, 'metadata does not match its commitment' AS detail
FROM events
WHERE metadata_status IN ('ok', 'malformed')
    AND (length(metadata_salt) != 32 OR metadata_commitment != HMAC('sha256', concat('affidavit/commit/v1', unhex('0001'), reinterpretAsFixedString(byteSwap(length(metadata_raw))), metadata_raw), metadata_salt))
UNION ALL
SELECT
    contents.topic,
    contents.partition,
    contents.offset,
    if(contents.source_status = 'invalid', 'the raw message does not match its entry', 'content or source does not match its commitment')
FROM contents
INNER JOIN (SELECT topic, partition, offset, commitments FROM events) AS proof
    ON proof.topic = contents.topic AND proof.partition = contents.partition AND proof.offset = contents.offset
WHERE (contents.content_status = 'ok' AND (length(content_salt) != 32 OR position(proof.commitments, concat(unhex('02'), HMAC('sha256', concat('affidavit/commit/v1', unhex('0002'), reinterpretAsFixedString(byteSwap(length(content))), content), content_salt))) % 33 != 1))
    OR (contents.source_status = 'ok' AND empty(contents.source_pieces) AND (length(source_salt) != 32 OR position(proof.commitments, concat(unhex('03'), HMAC('sha256', concat('affidavit/commit/v1', unhex('0003'), reinterpretAsFixedString(byteSwap(length(source))), source), source_salt))) % 33 != 1))
    OR (contents.source_status = 'invalid' AND proof.commitments != concat(unhex('03'), SHA256(concat('affidavit/invalid/v1', unhex('00'), source))))
UNION ALL
SELECT
    whole.topic,
    whole.partition,
    whole.offset,
    if(whole.missing > 0, concat('repeats ', toString(whole.missing), ' pieces of rows that are gone'), 'source does not match its commitment')
FROM
(
    SELECT asked.topic AS topic, asked.partition AS partition, asked.offset AS offset, any(asked.source_salt) AS salt,
        countIf(length(held.source) < piece.start + piece.length) AS missing,
        if(missing = 0, arrayStringConcat(arrayMap(one -> one.2, arraySort(one -> one.1, groupArray((number, substring(held.source, piece.start + 1, piece.length)))))), '') AS whole_source
    FROM
    (
        SELECT topic, partition, offset, source_salt, piece, number
        FROM contents
        ARRAY JOIN source_pieces AS piece, arrayEnumerate(source_pieces) AS number
        WHERE source_status = 'ok'
    ) AS asked
    LEFT JOIN
    (
        SELECT topic, partition, offset, source
        FROM contents
        WHERE (topic, partition, offset) IN (SELECT topic, piece.partition, piece.offset FROM contents ARRAY JOIN source_pieces AS piece)
    ) AS held
        ON held.topic = asked.topic AND held.partition = asked.piece.partition AND held.offset = asked.piece.offset
    GROUP BY asked.topic, asked.partition, asked.offset
) AS whole
INNER JOIN (SELECT topic, partition, offset, commitments FROM events) AS proof
    ON proof.topic = whole.topic AND proof.partition = whole.partition AND proof.offset = whole.offset
WHERE whole.missing > 0 OR length(whole.salt) != 32
    OR position(proof.commitments, concat(unhex('03'), HMAC('sha256', concat('affidavit/commit/v1', unhex('0003'), reinterpretAsFixedString(byteSwap(length(whole.whole_source))), whole.whole_source), whole.salt))) % 33 != 1;
