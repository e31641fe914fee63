"""Reruns: the runs that go back to a run, for its timeline.

Safe beside old servers and workers: an index on few runs, built while others write.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

NAME = "task_runs_by_origin"


def upgrade() -> None:
    """Build the index without a lock."""
    with op.get_context().autocommit_block():
        # One that was cut off half way is there, and not valid.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")
        op.execute(f"CREATE INDEX CONCURRENTLY {NAME} ON task_runs (rerun_of, id) WHERE rerun_of IS NOT NULL")


def downgrade() -> None:
    """Undo it."""
    op.drop_index(NAME, "task_runs")
