-- Roles for Affidavit's tables, made by `affidavit clickhouse access`. Run as a user with access management.

-- soc_metadata: who, when, which model, which tool, verdicts, counts; no word of what was said.
CREATE ROLE IF NOT EXISTS soc_metadata;
GRANT SELECT ON `affidavit`.`events` TO soc_metadata;
GRANT SELECT ON `affidavit`.`sessions` TO soc_metadata;
GRANT SELECT ON `affidavit`.`exchanges` TO soc_metadata;
GRANT SELECT ON `affidavit`.`tool_calls` TO soc_metadata;
GRANT SELECT ON `affidavit`.`timeline` TO soc_metadata;
GRANT SELECT ON `affidavit`.`events_by_identity` TO soc_metadata;
GRANT SELECT ON `affidavit`.`actors` TO soc_metadata;
GRANT SELECT ON `affidavit`.`directory_people` TO soc_metadata;
GRANT SELECT ON `affidavit`.`directory_aliases` TO soc_metadata;
GRANT SELECT ON `affidavit`.`directory_loads` TO soc_metadata;
GRANT SELECT ON `affidavit`.`people` TO soc_metadata;
GRANT SELECT ON `affidavit`.`aliases` TO soc_metadata;
GRANT SELECT ON `affidavit`.`alias_keys` TO soc_metadata;
GRANT SELECT ON `affidavit`.`alias_patterns` TO soc_metadata;

-- soc_content: the same, and what was said.
CREATE ROLE IF NOT EXISTS soc_content;
GRANT SELECT ON `affidavit`.`events` TO soc_content;
GRANT SELECT ON `affidavit`.`sessions` TO soc_content;
GRANT SELECT ON `affidavit`.`exchanges` TO soc_content;
GRANT SELECT ON `affidavit`.`tool_calls` TO soc_content;
GRANT SELECT ON `affidavit`.`timeline` TO soc_content;
GRANT SELECT ON `affidavit`.`events_by_identity` TO soc_content;
GRANT SELECT ON `affidavit`.`actors` TO soc_content;
GRANT SELECT ON `affidavit`.`directory_people` TO soc_content;
GRANT SELECT ON `affidavit`.`directory_aliases` TO soc_content;
GRANT SELECT ON `affidavit`.`directory_loads` TO soc_content;
GRANT SELECT ON `affidavit`.`people` TO soc_content;
GRANT SELECT ON `affidavit`.`aliases` TO soc_content;
GRANT SELECT ON `affidavit`.`alias_keys` TO soc_content;
GRANT SELECT ON `affidavit`.`alias_patterns` TO soc_content;
GRANT SELECT ON `affidavit`.`contents` TO soc_content;
GRANT SELECT ON `affidavit`.`whole_sources` TO soc_content;
GRANT SELECT ON `affidavit`.`large_parts` TO soc_content;

-- auditor: everything, to compute it again: all tenants, the ledger, the integrity views.
CREATE ROLE IF NOT EXISTS auditor;
GRANT SELECT ON `affidavit`.`events` TO auditor;
GRANT SELECT ON `affidavit`.`sessions` TO auditor;
GRANT SELECT ON `affidavit`.`exchanges` TO auditor;
GRANT SELECT ON `affidavit`.`tool_calls` TO auditor;
GRANT SELECT ON `affidavit`.`timeline` TO auditor;
GRANT SELECT ON `affidavit`.`events_by_identity` TO auditor;
GRANT SELECT ON `affidavit`.`actors` TO auditor;
GRANT SELECT ON `affidavit`.`directory_people` TO auditor;
GRANT SELECT ON `affidavit`.`directory_aliases` TO auditor;
GRANT SELECT ON `affidavit`.`directory_loads` TO auditor;
GRANT SELECT ON `affidavit`.`people` TO auditor;
GRANT SELECT ON `affidavit`.`aliases` TO auditor;
GRANT SELECT ON `affidavit`.`alias_keys` TO auditor;
GRANT SELECT ON `affidavit`.`alias_patterns` TO auditor;
GRANT SELECT ON `affidavit`.`contents` TO auditor;
GRANT SELECT ON `affidavit`.`whole_sources` TO auditor;
GRANT SELECT ON `affidavit`.`large_parts` TO auditor;
GRANT SELECT ON `affidavit`.`logs` TO auditor;
GRANT SELECT ON `affidavit`.`log_spans` TO auditor;
GRANT SELECT ON `affidavit`.`ledger_leaves` TO auditor;
GRANT SELECT ON `affidavit`.`integrity_leaves` TO auditor;
GRANT SELECT ON `affidavit`.`integrity_chain` TO auditor;
GRANT SELECT ON `affidavit`.`integrity_parts` TO auditor;
GRANT SELECT ON `affidavit`.`integrity_offsets` TO auditor;
GRANT SELECT ON `affidavit`.`integrity_statuses` TO auditor;
GRANT SELECT ON `affidavit`.`integrity_failures` TO auditor;
GRANT SELECT ON `affidavit`.`integrity_shards` TO auditor;
GRANT SELECT ON `affidavit`.`migrations` TO auditor;

-- legal: what was said, by whom, for holds and exports.
CREATE ROLE IF NOT EXISTS legal;
GRANT SELECT ON `affidavit`.`events` TO legal;
GRANT SELECT ON `affidavit`.`sessions` TO legal;
GRANT SELECT ON `affidavit`.`exchanges` TO legal;
GRANT SELECT ON `affidavit`.`tool_calls` TO legal;
GRANT SELECT ON `affidavit`.`timeline` TO legal;
GRANT SELECT ON `affidavit`.`events_by_identity` TO legal;
GRANT SELECT ON `affidavit`.`actors` TO legal;
GRANT SELECT ON `affidavit`.`directory_people` TO legal;
GRANT SELECT ON `affidavit`.`directory_aliases` TO legal;
GRANT SELECT ON `affidavit`.`directory_loads` TO legal;
GRANT SELECT ON `affidavit`.`people` TO legal;
GRANT SELECT ON `affidavit`.`aliases` TO legal;
GRANT SELECT ON `affidavit`.`alias_keys` TO legal;
GRANT SELECT ON `affidavit`.`alias_patterns` TO legal;
GRANT SELECT ON `affidavit`.`contents` TO legal;
GRANT SELECT ON `affidavit`.`whole_sources` TO legal;
GRANT SELECT ON `affidavit`.`large_parts` TO legal;

-- affidavit_writer: the sink: inserts, reads back what it wrote, and nothing else.
CREATE ROLE IF NOT EXISTS affidavit_writer;
GRANT SELECT, INSERT ON `affidavit`.`ingest` TO affidavit_writer;
GRANT SELECT, INSERT ON `affidavit`.`events` TO affidavit_writer;
GRANT SELECT, INSERT ON `affidavit`.`contents` TO affidavit_writer;
GRANT SELECT, INSERT ON `affidavit`.`logs` TO affidavit_writer;
GRANT SELECT, INSERT ON `affidavit`.`fences` TO affidavit_writer;
GRANT SELECT, INSERT ON `affidavit`.`directory_people` TO affidavit_writer;
GRANT SELECT, INSERT ON `affidavit`.`directory_aliases` TO affidavit_writer;
GRANT SELECT, INSERT ON `affidavit`.`directory_loads` TO affidavit_writer;
GRANT SELECT ON `affidavit`.`migrations` TO affidavit_writer;
GRANT ALTER DELETE ON `affidavit`.`directory_people` TO affidavit_writer;
GRANT ALTER DELETE ON `affidavit`.`directory_aliases` TO affidavit_writer;
GRANT SELECT ON system.processes TO affidavit_writer;

-- People: readonly, so that a query cannot change settings that guard the server.
CREATE SETTINGS PROFILE IF NOT EXISTS affidavit_people SETTINGS readonly = 2 TO soc_metadata, soc_content, auditor, legal;
-- CREATE USER ann IDENTIFIED WITH sha256_password BY '…'; GRANT soc_metadata TO ann;
