-- Leaves of a range, hashed anew from what is stored of each record: address, time, commitments. The verdict is one row.
--
-- Parameters: origin of the log; first and last leaf of the range (0 is the genesis entry, leaf i the record at start + i - 1).
SELECT
    {origin:String} AS origin,
    count() AS leaves,
    countIf(leaf != SHA256(concat(unhex('00'), entry))) AS differing,
    minOrNullIf(leaf_index, leaf != SHA256(concat(unhex('00'), entry))) AS first_differing,
    multiIf(
        differing > 0, 'failed: a stored leaf is not the hash of its entry',
        uniqExact(leaf_index) != {last:UInt64} - {first:UInt64} + 1, 'incomplete: not every leaf of the range is here',
        leaves != {last:UInt64} - {first:UInt64} + 1, 'failed: a leaf is here more than once',
        'verified: every leaf of the range is the hash of its entry') AS verdict
FROM ledger_leaves
WHERE origin = {origin:String} AND leaf_index BETWEEN {first:UInt64} AND {last:UInt64}
