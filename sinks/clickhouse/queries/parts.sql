-- What is here of the parts in a range of offsets: how many are in the clear, sealed, erased, elsewhere, and so on.
--
-- Parameters: topic, partition, first and last offset of the range.
SELECT part, status, count() AS parts
FROM events
ARRAY JOIN ['metadata', 'content', 'source'] AS part, [metadata_status, content_status, source_status] AS status
WHERE topic = {topic:String} AND partition = {partition:UInt32} AND offset BETWEEN {first:UInt64} AND {last:UInt64}
GROUP BY part, status
ORDER BY part, status
