"""Fewer index entries for each change of a run: see docs/decisions/0013-indexes-leave-out-the-usual.md."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NEW = {
    "task_runs_by_other_queue": (["queue", "id"], "queue <> 'default'"),
    "task_runs_by_other_priority": (["priority", "id"], "priority <> 0"),
}
OLD = {
    "task_runs_by_queue": (["queue", "id"], None),
    "task_runs_by_priority": (["priority", "id"], None),
    "task_runs_held": (["lease_owner"], "status IN ('RUNNING', 'ABORTING')"),
}


def upgrade() -> None:
    """Put the new indexes in the place of the old ones."""
    _exchange(OLD, NEW)


def downgrade() -> None:
    """Put the old indexes in the place of the new ones."""
    _exchange(NEW, OLD)


def _exchange(old: dict[str, tuple[list[str], str | None]], new: dict[str, tuple[list[str], str | None]]) -> None:
    """Make the new indexes, then drop the old ones, while runs are triggered and executed as usual.

    What is made concurrently is not undone when the migration is interrupted, so that it has to begin by clearing up.
    """
    with op.get_context().autocommit_block():
        for name, (columns, where) in new.items():
            condition = None if where is None else sa.text(where)
            op.drop_index(name, "task_runs", if_exists=True, postgresql_concurrently=True)
            op.create_index(name, "task_runs", columns, postgresql_where=condition, postgresql_concurrently=True)
        for name in old:
            op.drop_index(name, "task_runs", if_exists=True, postgresql_concurrently=True)
