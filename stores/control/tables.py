"""The tables of the control database, as SQLAlchemy Core knows them. The migrations create them; a test compares both.

Later tables (matters, holds, approvals, purge plans) join the same metadata, each with a migration of its own.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

settings = Table(
    "settings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", Text, primary_key=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("gateway", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # joined by a space
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("note", Text, nullable=False),
)

logs = Table(
    "logs",
    metadata,
    Column("origin", Text, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("term", Text, nullable=False),
    Column("start_offset", BigInteger, nullable=False),
    Column("genesis", LargeBinary, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("closed", Boolean(create_constraint=False), nullable=False),
)

locks = Table(
    "locks",
    metadata,
    Column("origin", Text, ForeignKey("logs.origin"), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("chain", LargeBinary(32), nullable=False),
    Column("note", LargeBinary, nullable=False),
)

subject_keys = Table(
    "subject_keys",
    metadata,
    Column("key_id", LargeBinary(16), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("retention_class", Text, nullable=False),
    Column("part_type", Integer, nullable=False),
    Column("month", Text, nullable=False),
    Column("kek_id", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("tenant", "subject", "retention_class", "part_type", "month"),
)

epochs = Table(
    "epochs",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""Counters that tell caches in other processes to forget: ``subject_keys`` goes up with each destruction of keys."""
