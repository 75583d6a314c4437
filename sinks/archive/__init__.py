"""The archive sink: Avro container files in the object store."""

from sinks.archive.evidence import ArchiveEvidence
from sinks.archive.inventory import ShardInventory, inventory, verify_listing
from sinks.archive.sink import ArchiveSink, Locks

__all__ = ["ArchiveEvidence", "ArchiveSink", "Locks", "ShardInventory", "inventory", "verify_listing"]
