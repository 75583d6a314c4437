-- Commitments of a range of offsets, computed anew from the stored parts and their salts (HMAC-SHA256). One row for each part that
-- does not match; no row: each part that is here in the clear matches. How many there are is told by parts.sql.
--
-- Parameters: topic, partition, first and last offset of the range. Needs to see content.
SELECT topic, partition, offset, detail
FROM integrity_parts
WHERE topic = {topic:String} AND partition = {partition:UInt32} AND offset BETWEEN {first:UInt64} AND {last:UInt64}
ORDER BY offset
LIMIT 1000
