-- Whether the stored rows have the root that a checkpoint states (RFC 6962 section 2.1). The leaves are hashed anew from address,
-- time and commitments; then tiles of 256 hashes are folded into their roots, four times.
--
-- Parameters: the first three lines of the checkpoint (`affidavit log checkpoint`): origin, size, root.
-- Whose checkpoint it is, SQL cannot tell. docs/auditor-sql.md has the command that checks its signature.
WITH RECURSIVE nodes AS
(
    SELECT toUInt8(0) AS height, leaf_index AS place, SHA256(concat(unhex('00'), entry)) AS hash
    FROM ledger_leaves
    WHERE origin = {origin:String} AND leaf_index < {size:UInt64}
    UNION ALL
    SELECT
        toUInt8(height + 8),
        intDiv(place, 256) AS tile,
        -- eight times: neighbours become one hash, and a last one without a neighbour goes up as it is
        arrayFold(
            (hashes, round) -> arrayMap(
                (left, right, both) -> if(both, SHA256(concat(unhex('01'), left, right)), left),
                arrayFilter((hash, i) -> i % 2 = 1, hashes, arrayEnumerate(hashes)),
                arrayResize(arrayFilter((hash, i) -> i % 2 = 0, hashes, arrayEnumerate(hashes)), intDiv(length(hashes) + 1, 2)),
                arrayMap(i -> 2 * i <= length(hashes), range(1, intDiv(length(hashes) + 1, 2) + 1))),
            range(8),
            arrayMap(one -> one.2, arraySort(groupArray((place, hash)))))[1]
    FROM nodes
    WHERE height < 32
    GROUP BY height, tile
)
SELECT
    {origin:String} AS origin,
    {size:UInt64} AS size,
    countIf(height = 0) AS leaves,
    uniqExactIf(place, height = 0) AS places,
    base64Encode(anyIf(hash, height = 32)) AS computed_root,
    multiIf(
        places != size, concat('incomplete: ', toString(places), ' of ', toString(size), ' leaves are here'),
        leaves != size, concat('failed: ', toString(leaves - size), ' leaves are here more than once'),
        computed_root != {root:String}, 'failed: another root than the checkpoint states',
        'verified: the stored rows have the root of the checkpoint') AS verdict
FROM nodes
