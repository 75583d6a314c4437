"""which directory of people is in force, and which were before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row per load, never changed."""
    op.create_table(
        "directories",
        sa.Column("number", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("loaded_ms", sa.BigInteger, nullable=False),
        sa.Column("operator", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_directories"),
        sqlite_autoincrement=True,
    )
