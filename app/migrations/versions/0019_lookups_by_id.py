"""Lookups by id: two indexes that hold an id behind another column cannot be taken any more for finding a run by its id.

Their condition is true of every row, so that they hold and serve what they did; but nothing about an id implies it.
Safe beside old servers and workers: the new indexes are built while others write, and replace the old ones after that.
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

COLUMNS = {"task_runs_by_status": "status", "task_runs_by_definition": "definition_id"}
OPTIONS = {"task_runs_by_status": "", "task_runs_by_definition": "WITH (fillfactor = 50)"}


def upgrade() -> None:
    """Replace the indexes without a lock."""
    for name, column in COLUMNS.items():
        _replace(name, f"({column}, id) {OPTIONS[name]} WHERE {column} IS NOT NULL")


def downgrade() -> None:
    """Undo it."""
    for name, column in COLUMNS.items():
        _replace(name, f"({column}, id) {OPTIONS[name]}")


def _replace(name: str, definition: str) -> None:
    # Every step may be repeated.
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}_new")
        op.execute(f"CREATE INDEX CONCURRENTLY {name}_new ON task_runs {definition}")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"ALTER INDEX {name}_new RENAME TO {name}")
