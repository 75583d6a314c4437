-- A shard has a log after a log. Where one ends the next begins, and the sink may have been ahead: rows that were delivered
-- before their log was opened keep the leaf index and the chain of the log before. Their leaf is right in any log.
-- Bus times may step back along a shard (each broker has a clock); nothing here, or in 001, relies on their order.

CREATE VIEW log_spans AS
SELECT
    origin,
    topic,
    partition,
    start_offset,
    if(next_start = 0, toUInt64(-1), next_start) AS end_offset
FROM
(
    SELECT origin, any(topic) AS topic, any(partition) AS partition, any(start_offset) AS start_offset
    FROM logs GROUP BY origin
) AS own
LEFT JOIN (SELECT topic, partition, groupUniqArray(start_offset) AS starts FROM logs GROUP BY topic, partition) AS shard
    USING (topic, partition)
ARRAY JOIN [arrayMin(arrayFilter(start -> start > own.start_offset, starts))] AS next_start;

-- As before, but for gaps: they are looked for along the shard, over the seams of its logs.
CREATE OR REPLACE VIEW integrity_offsets AS
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
        SELECT topic, partition, toInt64(offset) AS here,
            lagInFrame(toInt64(offset), 1, toInt64(first_start) - 1) OVER (PARTITION BY topic, partition ORDER BY offset ASC ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS previous
        FROM events
        LEFT JOIN (SELECT topic, partition, min(start_offset) AS first_start FROM logs GROUP BY topic, partition) AS logs USING (topic, partition)
    )
    WHERE here > previous + 1
);

-- As before, but of a log only the rows before its successor's start: those the ledger has in it.
CREATE OR REPLACE VIEW integrity_shards AS
SELECT
    events.origin AS origin,
    any(events.topic) AS any_topic,
    any(events.partition) AS any_partition,
    count() AS records,
    uniqExact(events.offset) AS distinct_offsets,
    min(events.offset) AS first_offset,
    max(events.offset) AS last_offset,
    max(events.offset) - min(events.offset) + 1 - uniqExact(events.offset) AS absent,
    countIf(entry_kind = 3) AS invalid,
    countIf(metadata_status = 'sealed') AS sealed,
    max(leaf_index) + 1 AS tree_size,
    lower(hex(argMax(chain, leaf_index))) AS last_chain
FROM events
LEFT JOIN (SELECT origin, end_offset FROM log_spans) AS spans ON spans.origin = events.origin
WHERE events.offset < spans.end_offset OR spans.end_offset = 0
GROUP BY events.origin;
