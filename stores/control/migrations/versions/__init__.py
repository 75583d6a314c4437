"""Migrations of the control database (Alembic). A migration that was released is never edited."""
