-- What the ledger says of each record, without its parts: what an auditor computes trees from. All tenants' rows: a tree needs
-- them, and shows no more of a record than that there was one, and when.
-- The log of a row, and its place there, come from its offset: rows delivered before their log was opened state another.

CREATE VIEW ledger_leaves AS
SELECT
    spans.origin AS origin,
    toUInt64(events.offset - spans.start_offset + 1) AS leaf_index,
    events.topic AS topic,
    events.partition AS partition,
    events.offset AS offset,
    events.bus_time AS bus_time,
    events.leaf_entry AS entry,
    events.leaf AS leaf,
    events.chain AS chain
FROM events
INNER JOIN log_spans AS spans ON spans.topic = events.topic AND spans.partition = events.partition
WHERE events.offset >= spans.start_offset AND events.offset < spans.end_offset
UNION ALL
SELECT
    origin, toUInt64(0), topic, partition, toUInt64(0), toDateTime64(0, 3, 'UTC'), any(genesis),
    concat(SHA256(concat(unhex('00'), any(genesis))), ''), any(chain)
FROM logs
GROUP BY origin, topic, partition;
