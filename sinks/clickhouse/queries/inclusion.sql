-- That one record is in the tree of a checkpoint: the hashes beside its path to the root (RFC 6962 section 2.1.1), computed from the
-- stored rows, and the root to which they lead. The path is what any other tool needs to check the same (RFC 9162 section 2.1.3.2).
--
-- Parameters: the first three lines of the checkpoint (origin, size, root), and the record's leaf.
WITH RECURSIVE nodes AS
(
    SELECT toUInt8(0) AS height, leaf_index AS place, SHA256(concat(unhex('00'), entry)) AS hash
    FROM ledger_leaves
    WHERE origin = {origin:String} AND leaf_index < {size:UInt64}
    UNION ALL
    SELECT
        toUInt8(height + 8),
        intDiv(place, 256) AS tile,
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
),
-- of the four tiles above the record: the neighbour on each of eight steps, a hash of zeros where there is none
steps AS
(
    SELECT
        height,
        anyIf(hash, height = 0 AND place = {leaf:UInt64}) AS own,
        arrayFold(
            (state, round) -> (
                arrayMap(
                    (left, right, both) -> if(both, SHA256(concat(unhex('01'), left, right)), left),
                    arrayFilter((hash, i) -> i % 2 = 1, state.1, arrayEnumerate(state.1)),
                    arrayResize(arrayFilter((hash, i) -> i % 2 = 0, state.1, arrayEnumerate(state.1)), intDiv(length(state.1) + 1, 2)),
                    arrayMap(i -> 2 * i <= length(state.1), range(1, intDiv(length(state.1) + 1, 2) + 1))),
                arrayPushBack(
                    state.2, state.1[bitXor(bitShiftRight(bitShiftRight({leaf:UInt64}, height) % 256, round), 1) + 1])),
            range(8),
            (arrayMap(one -> one.2, arraySort(groupArray((place, hash)))), CAST([], 'Array(FixedString(32))'))
        ).2 AS neighbours
    FROM nodes
    WHERE height < 32 AND intDiv(place, 256) = bitShiftRight({leaf:UInt64}, height + 8)
    GROUP BY height
),
whole AS
(
    SELECT
        max(own) AS leaf_hash,
        arrayFilter(hash -> hash != toFixedString('', 32), arrayFlatten(arrayMap(one -> one.2, arraySort(groupArray((height, neighbours)))))) AS path
    FROM steps
),
-- RFC 9162 section 2.1.3.2: a right child, or the last node of its row, which went up alone, takes the hash to its left
led AS
(
    SELECT
        path,
        arrayFold(
            (state, hash) -> if(
                state.2 % 2 = 1 OR state.2 = state.3,
                (SHA256(concat(unhex('01'), hash, state.1)),
                    bitShiftRight(state.2, bitCount(bitXor(state.2, state.2 - 1))),
                    bitShiftRight(state.3, bitCount(bitXor(state.2, state.2 - 1)))),
                (SHA256(concat(unhex('01'), state.1, hash)), bitShiftRight(state.2, 1), bitShiftRight(state.3, 1))),
            path,
            (leaf_hash, {leaf:UInt64}, {size:UInt64} - 1)) AS state
    FROM whole
)
SELECT
    {leaf:UInt64} AS leaf,
    arrayMap(hash -> lower(hex(hash)), path) AS path,
    base64Encode(state.1) AS computed_root,
    if(computed_root = {root:String} AND state.3 = 0,
        'verified: the path leads from the record to the root of the checkpoint',
        'failed: the path leads to another root') AS verdict
FROM led
