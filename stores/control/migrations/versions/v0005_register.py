"""the register of matters and holds, and whose token a token is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One row per entry, never changed; tokens of before belong to no person."""
    op.create_table(
        "register",
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_register"),
    )
    op.add_column("tokens", sa.Column("person", sa.Text, nullable=False, server_default=""))
