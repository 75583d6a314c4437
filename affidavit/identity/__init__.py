"""Who a raw actor is: people, their aliases, and who held an alias at what time.

What is sealed keeps what the source said. A directory is loaded by an operator, corrected, and loaded again; events are
resolved when they are read, as of their time (``sinks/clickhouse/sql/009_directory.sql`` for many, :mod:`.resolving`
for one). Nothing of it touches keys: two people are never merged under one.

``aliases``, ``people``, ``form``, ``scim``, ``resolving`` and ``changes`` are pure; ``loading``, ``sync`` and
``asking`` speak to stores.
"""
