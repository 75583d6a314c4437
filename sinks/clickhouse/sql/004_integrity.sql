-- The ledger's arithmetic again, in SQL, over what is stored. Every view returns the rows that fail; none means sound.
--
--   integrity_leaves    the leaf is not the hash of address, time and commitments, or the row is not where its log has it
--   integrity_chain     the chain value does not follow from the row before
--   integrity_parts     stored bytes do not match what the ledger commits to
--   integrity_offsets   offsets that are absent, or there twice, in one of the tables
--   integrity_statuses  parts that were not as the ledger says when they arrived (missing, mismatch, malformed …)
--   integrity_failures  all of them
--   integrity_shards    one row per log: counts, first and last, the chain value to compare with a signed checkpoint
--
-- What they cannot see: whether the metadata columns say what the signed metadata bytes say (`affidavit verify records`
-- compares them, and the log itself: a tail that was cut off everywhere is seen by the checkpoint alone).
-- Hashes are compared as strings of 32 bytes: toString() of a FixedString would drop zero bytes at its end.

CREATE VIEW integrity_leaves AS
SELECT
    events.topic AS topic,
    events.partition AS partition,
    events.offset AS offset,
    multiIf(
        logs.origin = '', 'its log is not in the table of logs',
        toInt64(events.leaf_index) != toInt64(events.offset) - toInt64(logs.start_offset) + 1, 'leaf index and offset disagree',
        length(events.leaf) != 32, 'the leaf is not 32 bytes',
        'the leaf is not the hash of its entry') AS detail
FROM events
LEFT JOIN (SELECT origin, any(start_offset) AS start_offset FROM logs GROUP BY origin) AS logs ON logs.origin = events.origin
WHERE length(events.leaf) != 32
    OR events.leaf != SHA256(concat(unhex('00'), events.leaf_entry))
    OR logs.origin = ''
    OR toInt64(events.leaf_index) != toInt64(events.offset) - toInt64(logs.start_offset) + 1;

CREATE VIEW integrity_chain AS
SELECT topic, partition, offset, 'the chain does not follow from the row before' AS detail
FROM
(
    SELECT
        origin, topic, partition, offset, leaf_index, leaf, chain,
        lagInFrame(leaf_index, 1, 0) OVER rows_before AS previous_index,
        lagInFrame(chain, 1, '') OVER rows_before AS previous_row
    FROM events
    WINDOW rows_before AS (PARTITION BY origin ORDER BY leaf_index ASC ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
) AS linked
LEFT JOIN (SELECT origin, any(chain) AS genesis_chain FROM logs GROUP BY origin) AS logs ON logs.origin = linked.origin
WHERE leaf_index = previous_index + 1
    AND (length(chain) != 32 OR chain != SHA256(concat('affidavit/chain/v1', unhex('00'), reinterpretAsFixedString(byteSwap(leaf_index)), if(leaf_index = 1, genesis_chain, previous_row), leaf)));

CREATE VIEW integrity_parts AS
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
    OR (contents.source_status = 'ok' AND (length(source_salt) != 32 OR position(proof.commitments, concat(unhex('03'), HMAC('sha256', concat('affidavit/commit/v1', unhex('0003'), reinterpretAsFixedString(byteSwap(length(source))), source), source_salt))) % 33 != 1))
    OR (contents.source_status = 'invalid' AND proof.commitments != concat(unhex('03'), SHA256(concat('affidavit/invalid/v1', unhex('00'), source))));

CREATE VIEW integrity_offsets AS
SELECT topic, partition, offset, detail
FROM
(
    SELECT topic, partition, offset, concat(toString(count() - 1), ' more rows of this offset in events') AS detail
    FROM events GROUP BY topic, partition, offset HAVING count() > 1
    UNION ALL
    SELECT topic, partition, offset, concat(toString(count() - 1), ' more rows of this offset in contents')
    FROM contents GROUP BY topic, partition, offset HAVING count() > 1
    UNION ALL
    SELECT topic, partition, offset, concat('in contents and not in events')
    FROM contents WHERE (topic, partition, offset) NOT IN (SELECT topic, partition, offset FROM events)
    UNION ALL
    SELECT topic, partition, offset, concat('in events and not in contents')
    FROM events WHERE (topic, partition, offset) NOT IN (SELECT topic, partition, offset FROM contents)
    UNION ALL
    SELECT topic, partition, previous + 1 AS offset, concat('absent up to offset ', toString(here - 1))
    FROM
    (
        SELECT origin, topic, partition, toInt64(offset) AS here,
            lagInFrame(toInt64(offset), 1, toInt64(start_offset) - 1) OVER (PARTITION BY origin ORDER BY offset ASC ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS previous
        FROM events
        LEFT JOIN (SELECT origin, any(start_offset) AS start_offset FROM logs GROUP BY origin) AS logs USING (origin)
    )
    WHERE here > previous + 1
);

CREATE VIEW integrity_statuses AS
SELECT topic, partition, offset, concat(metadata_status, ', ', content_status, ', ', source_status, ': ', status_reason) AS detail
FROM events
WHERE metadata_status IN ('mismatch', 'missing', 'malformed', 'undecodable', 'rejected')
    OR content_status IN ('mismatch', 'missing', 'malformed', 'undecodable', 'rejected')
    OR source_status IN ('mismatch', 'missing', 'malformed', 'undecodable', 'rejected');

CREATE VIEW integrity_failures AS
SELECT 'leaf' AS failed_check, topic, partition, toUInt64(offset) AS offset, detail FROM integrity_leaves
UNION ALL SELECT 'chain', topic, partition, offset, detail FROM integrity_chain
UNION ALL SELECT 'part', topic, partition, offset, detail FROM integrity_parts
UNION ALL SELECT 'offset', topic, partition, toUInt64(offset), detail FROM integrity_offsets
UNION ALL SELECT 'status', topic, partition, offset, detail FROM integrity_statuses;

CREATE VIEW integrity_shards AS
SELECT
    origin,
    any(topic) AS any_topic,
    any(partition) AS any_partition,
    count() AS records,
    uniqExact(offset) AS distinct_offsets,
    min(offset) AS first_offset,
    max(offset) AS last_offset,
    max(offset) - min(offset) + 1 - uniqExact(offset) AS absent,
    countIf(entry_kind = 3) AS invalid,
    countIf(metadata_status = 'sealed') AS sealed,
    max(leaf_index) + 1 AS tree_size,
    lower(hex(argMax(chain, leaf_index))) AS last_chain
FROM events
GROUP BY origin;
