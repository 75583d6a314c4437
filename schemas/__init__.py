"""The words of the system: events, parts, records, ledger entries. Pure; imports nothing of ours."""
