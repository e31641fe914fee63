"""Tasks in order: those of a definition, a group or an owner are found in the order of names, in which lists show them.

Safe beside old servers and workers: the new indexes are built while others write, and replace the old ones after that.
"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

COLUMNS = {"tasks_by_definition": "definition_id", "tasks_by_group": "group_name", "tasks_by_owner": "owner"}


def upgrade() -> None:
    """Put the name between what is looked for and the id."""
    for name, column in COLUMNS.items():
        _replace(name, f"({column}, name, id)")


def downgrade() -> None:
    """Undo it."""
    for name, column in COLUMNS.items():
        _replace(name, f"({column}, id)")


def _replace(name: str, columns: str) -> None:
    # Every step may be repeated.
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}_new")
        op.execute(f"CREATE INDEX CONCURRENTLY {name}_new ON tasks {columns} WHERE deleted_at IS NULL")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"ALTER INDEX {name}_new RENAME TO {name}")
