"""The depth of queues: what waits in a queue besides what workers may claim, for a limit or for its time.

Safe beside old servers and workers: an index on few runs, built while others write.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

NAME = "task_runs_held_back"


def upgrade() -> None:
    """Build the index without a lock."""
    with op.get_context().autocommit_block():
        # One that was cut off half way is there, and not valid.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")
        condition = "status = 'SCHEDULED' OR status = 'QUEUED' AND parked IS NOT NULL"
        op.execute(f"CREATE INDEX CONCURRENTLY {NAME} ON task_runs (queue) WHERE {condition}")


def downgrade() -> None:
    """Undo it."""
    op.drop_index(NAME, "task_runs")
