"""The tables of the control database, as SQLAlchemy Core knows them. The migrations create them; a test compares both.

Later tables join the same metadata, each with a migration of its own.
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
    UniqueConstraint,
)

from stores.control.text import PlainText

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
    Column("name", PlainText, primary_key=True),
    Column("value", PlainText, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", PlainText, primary_key=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("tenant", PlainText, nullable=False),
    Column("gateway", PlainText, nullable=False),
    Column("scopes", PlainText, nullable=False),  # joined by a space
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("note", PlainText, nullable=False),
    Column("person", PlainText, nullable=False, server_default=""),  # "" for a machine's
)

logs = Table(
    "logs",
    metadata,
    Column("origin", PlainText, primary_key=True),
    Column("topic", PlainText, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("term", PlainText, nullable=False),
    Column("start_offset", BigInteger, nullable=False),
    Column("genesis", LargeBinary, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("closed", Boolean(create_constraint=False), nullable=False),
)

locks = Table(
    "locks",
    metadata,
    Column("origin", PlainText, ForeignKey("logs.origin"), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("chain", LargeBinary(32), nullable=False),
    Column("note", LargeBinary, nullable=False),
)

subject_keys = Table(
    "subject_keys",
    metadata,
    Column("key_id", LargeBinary(16), primary_key=True),
    Column("tenant", PlainText, nullable=False),
    Column("subject", PlainText, nullable=False),
    Column("retention_class", PlainText, nullable=False),
    Column("part_type", Integer, nullable=False),
    Column("month", PlainText, nullable=False),
    Column("kek_id", PlainText, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("maker", PlainText, nullable=False, server_default=""),  # "" for the ordinary key of a scope
    UniqueConstraint("tenant", "subject", "retention_class", "part_type", "month", "maker"),
)

destroyed_keys = Table(
    "destroyed_keys",
    metadata,
    Column("key_id", LargeBinary(16), primary_key=True),
    Column("destroyed_ms", BigInteger, nullable=False),
)
"""Keys with a maker that were destroyed. Their maker may not know yet, and must not bring them back."""

epochs = Table(
    "epochs",
    metadata,
    Column("name", PlainText, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""Counters that tell caches in other processes to forget: ``subject_keys`` goes up with each destruction of keys."""

cursors = Table(
    "cursors",
    metadata,
    Column("name", PlainText, primary_key=True),
    Column("value", PlainText, nullable=False),
    Column("moved_ms", BigInteger, nullable=False),
    Column("owner", PlainText, nullable=False),  # "" for nobody
    Column("until_ms", BigInteger, nullable=False),  # when the lease ends, by the clock of its owner
)
"""How far each feed was read, and which process reads it."""

directories = Table(
    "directories",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("tenant", PlainText, nullable=False),
    Column("sha256", PlainText, nullable=False),  # of the object, in hex
    Column("loaded_ms", BigInteger, nullable=False),
    Column("operator", PlainText, nullable=False),
    sqlite_autoincrement=True,
)
"""Loads of directories of people; the highest number of a tenant is in force."""

register = Table(
    "register",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3 …
    Column("entry", LargeBinary, nullable=False),
)
"""The register of matters and holds (``retention/register.py``), entry by entry, as it lies in the object store too."""
