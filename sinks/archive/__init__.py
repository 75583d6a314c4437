"""The archive sink: Avro container files in the object store."""
