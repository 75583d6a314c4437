"""The ClickHouse sink: tables, pass-through Avro, exact resume, evidence, integrity in SQL, the read-only interface."""
