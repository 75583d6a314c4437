"""What Alembic runs: the migrations, on the connection and in the transaction of ``ControlDatabase.migrate``."""

from __future__ import annotations

from alembic import context

from stores.control.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite can, Alembic assumes that it cannot
    on_version_apply=context.config.attributes["on_version_apply"],
)
context.run_migrations()
