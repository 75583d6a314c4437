-- The chain along a range, each value computed anew from the one before it and the leaf, which is hashed anew, too. The last
-- value is that which a checkpoint set of the anchor log states for a log of last + 1 leaves.
--
-- Parameters: origin of the log; first and last leaf of the range. From 0 on, nothing stored is taken for granted; from
-- another leaf on, the chain value before it is.
SELECT
    {origin:String} AS origin,
    countIf(leaf_index >= {first:UInt64}) AS leaves,
    countIf(breaks) AS broken,
    minOrNullIf(leaf_index, breaks) AS first_broken,
    lower(hex(argMax(chain, leaf_index))) AS last_chain,
    multiIf(
        broken > 0, 'failed: the chain does not follow',
        leaves != {last:UInt64} - {first:UInt64} + 1, 'incomplete: not every leaf of the range is here once',
        'verified: each value of the chain follows from the one before') AS verdict
FROM
(
    SELECT
        leaf_index,
        chain,
        lagInFrame(chain, 1, '') OVER before AS previous,
        if(leaf_index = 0, repeat(unhex('00'), 32), previous) AS follows,
        leaf_index >= {first:UInt64}
            AND chain != SHA256(concat('affidavit/chain/v1', unhex('00'), reinterpretAsFixedString(byteSwap(leaf_index)), follows,
                SHA256(concat(unhex('00'), entry)))) AS breaks
    FROM ledger_leaves
    WHERE origin = {origin:String}
        AND leaf_index BETWEEN if({first:UInt64} = 0, 0, {first:UInt64} - 1) AND {last:UInt64}
    WINDOW before AS (ORDER BY leaf_index ASC ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
