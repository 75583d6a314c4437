-- Who may insert for a shard: see sinks/clickhouse/fence.py. The highest (epoch, owner, turn) of a shard is the writer's.
-- A row for each time that a process takes a shard or is in doubt about an insert; old ones may be dropped, the highest not.
CREATE TABLE fences
(
    topic LowCardinality(String),
    partition UInt32,
    epoch UInt64,
    owner String COMMENT 'random, of one writer of one process',
    turn UInt64,
    raised_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree ORDER BY (topic, partition, epoch, owner, turn)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
