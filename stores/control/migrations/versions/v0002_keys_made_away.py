"""several subject keys for one scope, and which were destroyed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCOPE = ["tenant", "subject", "retention_class", "part_type", "month"]


def upgrade() -> None:
    """A collector makes keys of its own while it cannot ask for the ordinary one. SQLite copies the table."""
    with op.batch_alter_table("subject_keys") as batch:
        batch.add_column(sa.Column("maker", sa.Text, nullable=False, server_default=""))
        batch.drop_constraint("uq_subject_keys_tenant", type_="unique")
        batch.create_unique_constraint("uq_subject_keys_tenant", [*SCOPE, "maker"])
    op.create_table(
        "destroyed_keys",
        sa.Column("key_id", sa.LargeBinary(16), nullable=False),
        sa.Column("destroyed_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_destroyed_keys"),
    )
