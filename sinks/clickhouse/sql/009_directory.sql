-- Who a raw actor is: people and their aliases, as of the time of an event. Rows come from the directory that an operator
-- loaded (affidavit identity load); nothing here is signed, nothing of `events` changes, and another directory resolves
-- old events anew. affidavit/identity/resolving.py says the same in Python, and a test compares the two.

-- Who is in a loaded directory.
CREATE TABLE directory_people
(
    tenant String COMMENT 'whose events they are looked for in; * for tenants without a directory of their own',
    batch String COMMENT 'one attempt to write a load; only what directory_loads names counts',
    identity String,
    display_name String,
    team String,
    business_unit String,
    groups Array(String),
    active Bool
)
ENGINE = MergeTree PARTITION BY batch ORDER BY (tenant, identity)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- A row per alias and stretch of time in which the same people hold it. The stretches of an alias follow each other without
-- gaps, so the last that began before an event is the one that counts. Patterns have a row per person who has them.
CREATE TABLE directory_aliases
(
    tenant String,
    batch String,
    alias_kind LowCardinality(String) COMMENT 'email, user_id, account, sso_id, end_user_id, service_account, api_key_id, api_key_alias, cloud_principal; or pattern: of a cloud_principal',
    alias String COMMENT 'normalised; of a pattern its regular expression',
    account String COMMENT 'of a pattern, as all up to literal: empty where any account will do',
    stem String COMMENT 'what stands before the last slash, without the account',
    stem_open Bool COMMENT 'whether that may go on',
    last String COMMENT 'what stands behind the last slash',
    last_open Bool COMMENT 'whether that may go on',
    literal UInt32 COMMENT 'characters that are no wildcards; the most win',
    valid_from DateTime64(3, 'UTC'),
    valid_until DateTime64(3, 'UTC'),
    held_by Array(String) COMMENT 'who holds it: one, or nobody, or several who are in conflict'
)
ENGINE = MergeTree PARTITION BY batch ORDER BY (tenant, alias_kind, alias, valid_from)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Loads that are here as a whole. The highest number of a tenant is in force.
CREATE TABLE directory_loads
(
    tenant String,
    number UInt64 COMMENT 'of the load, from the control database',
    sha256 String COMMENT 'of the directory in the object store, in hex',
    batch String,
    loaded_at DateTime64(3, 'UTC'),
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree ORDER BY (tenant, number, batch)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- What is in force.
CREATE VIEW people AS
SELECT * EXCEPT batch FROM directory_people
WHERE batch IN (SELECT argMax(batch, (number, batch)) FROM directory_loads GROUP BY tenant);

CREATE VIEW aliases AS
SELECT * EXCEPT batch FROM directory_aliases
WHERE batch IN (SELECT argMax(batch, (number, batch)) FROM directory_loads GROUP BY tenant);

-- The same, as the joins below want them.
CREATE VIEW alias_keys AS
SELECT
    sipHash128(tenant, toString(alias_kind), alias) AS key,
    alias_kind,
    valid_from,
    if(length(held_by) = 1, held_by[1], '') AS one,
    length(held_by) > 1 AS several
FROM aliases
WHERE alias_kind != 'pattern';

CREATE VIEW alias_patterns AS
SELECT
    tenant AS of_tenant,
    last,
    last_open,
    CAST((account, stem, stem_open, last, last_open, literal, valid_from, valid_until, held_by), 'Tuple(account String, stem String, stem_open Bool, last String, last_open Bool, literal UInt32, from DateTime64(3, \'UTC\'), until DateTime64(3, \'UTC\'), held_by Array(String))') AS pattern
FROM aliases
WHERE alias_kind = 'pattern';

-- Every event with who it was. `identity` is empty where nobody is known, and `identity_state` says why: unresolved, ambiguous
-- (several people hold an alias of it), or absent (it names nobody). The first field that names one person counts: user_id,
-- user_email, service_account, cloud_principal, api_key_id, api_key_alias, and last what a client says, end_user_id. `identity_by`
-- is that field, `identity_also` are others whom other fields name.
-- The time that counts, `identity_as_of`, is when it happened where gateway or provider vouch for who it was, else when it
-- arrived: a client must not choose the time at which its alias is read.
CREATE VIEW events_by_identity AS
SELECT
    named.* EXCEPT (matching, most, by_pattern, by_principal, identity_tenant),
    known.display_name AS identity_name,
    known.team AS identity_team,
    known.business_unit AS identity_unit,
    known.groups AS identity_groups,
    known.active AS identity_active
FROM
(
    WITH
        value -> normalizeUTF8NFC(toValidUTF8(trimBoth(value, ' \t\n\r\f\v'))) AS clean,
        (kind, value) -> if(position(value, '@') > 0 AND NOT startsWith(value, 'arn:'), sipHash128(identity_tenant, 'email', lowerUTF8(value)), sipHash128(identity_tenant, kind, value)) AS key_of
    SELECT
        asked.* EXCEPT (asked_principal, asked_arn, asked_resource, asked_last, asked_stem, key_user_id, key_user_email, key_end_user_id, key_service_account, key_api_key_id, key_api_key_alias, key_cloud_principal),
        arrayFilter(one -> one.from <= asked.identity_as_of AND asked.identity_as_of < one.until AND one.account IN ('', asked_arn[5]) AND if(one.stem_open, startsWith(asked_stem, one.stem), asked_stem = one.stem) AND if(one.last_open, startsWith(asked_last, one.last), asked_last = one.last), if(a4.one != '' OR a4.several, [], arrayConcat(p1.found, p2.found))) AS matching,
        arrayMax(one -> one.literal, matching) AS most,
        arrayDistinct(arrayFlatten(arrayMap(one -> one.held_by, arrayFilter(one -> one.literal = most, matching)))) AS by_pattern,
        if(a4.one != '', a4.one, if(length(by_pattern) = 1, by_pattern[1], '')) AS by_principal,
        multiIf(a1.one != '', a1.one, a2.one != '', a2.one, a3.one != '', a3.one, by_principal != '', by_principal, a5.one != '', a5.one, a6.one != '', a6.one, a7.one) AS identity,
        multiIf(a1.one != '', 'user_id', a2.one != '', 'user_email', a3.one != '', 'service_account', by_principal != '', 'cloud_principal', a5.one != '', 'api_key_id', a6.one != '', 'api_key_alias', a7.one != '', 'end_user_id', '') AS identity_by,
        multiIf(identity != '', 'resolved', a1.several OR a2.several OR a3.several OR a4.several OR a5.several OR a6.several OR a7.several OR length(by_pattern) > 1, 'ambiguous', user_id = '' AND user_email = '' AND end_user_id = '' AND service_account = '' AND api_key_id = '' AND api_key_alias = '' AND cloud_principal = '', 'absent', 'unresolved') AS identity_state,
        arrayDistinct(arrayFilter(who -> who NOT IN ('', identity), [a1.one, a2.one, a3.one, by_principal, a5.one, a6.one, a7.one])) AS identity_also
    FROM
    (
        SELECT
            *,
            if(tenant IN (SELECT tenant FROM directory_loads), toString(tenant), '*') AS identity_tenant,
            greatest(toDateTime64(0, 3, 'UTC'), if(assurance IN ('gateway_authenticated', 'provider_authenticated'), least(toDateTime64(occurred_at, 3, 'UTC'), bus_time), bus_time)) AS identity_as_of,
            clean(cloud_principal) AS asked_principal,
            splitByChar(':', asked_principal) AS asked_arn,
            arrayStringConcat(arraySlice(asked_arn, 6), ':') AS asked_resource,
            arrayElement(splitByChar('/', asked_resource), -1) AS asked_last,
            concat(arrayStringConcat(arraySlice(asked_arn, 1, 4), ':'), ':', substring(asked_resource, 1, greatest(0, toInt64(length(asked_resource)) - toInt64(length(asked_last)) - 1))) AS asked_stem,
            key_of(multiIf(user_id_kind IN ('account', 'anthropic_account', 'anthropic_user', 'openai_user'), 'account', user_id_kind IN ('sso_subject', 'jwt_subject', 'cloudflare_access'), 'sso_id', 'user_id'), if(user_id_kind IN ('iam_user', 'iam_role_session'), '', clean(user_id))) AS key_user_id,
            key_of('email', if(user_id_kind IN ('iam_user', 'iam_role_session'), '', clean(user_email))) AS key_user_email,
            key_of('end_user_id', clean(end_user_id)) AS key_end_user_id,
            key_of('service_account', clean(service_account)) AS key_service_account,
            sipHash128(identity_tenant, 'api_key_id', clean(api_key_id)) AS key_api_key_id,
            sipHash128(identity_tenant, 'api_key_alias', clean(api_key_alias)) AS key_api_key_alias,
            key_of('cloud_principal', asked_principal) AS key_cloud_principal
        FROM events
    ) AS asked
    ASOF LEFT JOIN (SELECT key, valid_from, one, several FROM alias_keys WHERE alias_kind IN ('user_id', 'account', 'sso_id', 'email')) AS a1 ON a1.key = asked.key_user_id AND asked.identity_as_of >= a1.valid_from
    ASOF LEFT JOIN (SELECT key, valid_from, one, several FROM alias_keys WHERE alias_kind IN ('email')) AS a2 ON a2.key = asked.key_user_email AND asked.identity_as_of >= a2.valid_from
    ASOF LEFT JOIN (SELECT key, valid_from, one, several FROM alias_keys WHERE alias_kind IN ('service_account', 'email')) AS a3 ON a3.key = asked.key_service_account AND asked.identity_as_of >= a3.valid_from
    ASOF LEFT JOIN (SELECT key, valid_from, one, several FROM alias_keys WHERE alias_kind IN ('cloud_principal', 'email')) AS a4 ON a4.key = asked.key_cloud_principal AND asked.identity_as_of >= a4.valid_from
    ASOF LEFT JOIN (SELECT key, valid_from, one, several FROM alias_keys WHERE alias_kind IN ('api_key_id')) AS a5 ON a5.key = asked.key_api_key_id AND asked.identity_as_of >= a5.valid_from
    ASOF LEFT JOIN (SELECT key, valid_from, one, several FROM alias_keys WHERE alias_kind IN ('api_key_alias')) AS a6 ON a6.key = asked.key_api_key_alias AND asked.identity_as_of >= a6.valid_from
    ASOF LEFT JOIN (SELECT key, valid_from, one, several FROM alias_keys WHERE alias_kind IN ('end_user_id', 'email')) AS a7 ON a7.key = asked.key_end_user_id AND asked.identity_as_of >= a7.valid_from
    ANY LEFT JOIN (SELECT of_tenant, last, groupArray(pattern) AS found FROM alias_patterns WHERE NOT last_open GROUP BY of_tenant, last) AS p1 ON p1.of_tenant = asked.identity_tenant AND p1.last = asked.asked_last
    ANY LEFT JOIN (SELECT of_tenant, groupArray(pattern) AS found FROM alias_patterns WHERE last_open GROUP BY of_tenant) AS p2 ON p2.of_tenant = asked.identity_tenant
) AS named
ANY LEFT JOIN (SELECT tenant AS of_tenant, identity AS of_identity, display_name, team, business_unit, groups, active FROM people) AS known ON known.of_tenant = named.identity_tenant AND known.of_identity = named.identity;

-- Who was there, as the sources call them, and who that was. What resolves to nobody has an empty `identity`.
CREATE VIEW actors AS
SELECT
    tenant, user_id, user_id_kind, user_email, end_user_id, service_account, api_key_id, api_key_alias, cloud_principal,
    assurance, identity, identity_name, identity_by, identity_state, identity_also,
    count() AS records,
    uniqExact(event_id) AS distinct_events,
    min(identity_as_of) AS first_at,
    max(identity_as_of) AS last_at,
    arraySort(groupUniqArrayIf(32)(gateway, gateway != '')) AS gateways
FROM events_by_identity
WHERE identity_state != 'absent'
GROUP BY tenant, user_id, user_id_kind, user_email, end_user_id, service_account, api_key_id, api_key_alias, cloud_principal,
    assurance, identity, identity_name, identity_by, identity_state, identity_also;
