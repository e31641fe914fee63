"""Searches over runs: by names of their own, and by how long they took.

Safe beside old servers and workers, and without a long lock: a column with a constant default, and indexes built while
others write. Runs that were triggered before, or are by an old server, count as without a name of their own: a search
finds them by the name of their task, the title of their definition, and their tags.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

INDEXES = {
    "task_runs_by_own_name": "USING gin (name gin_trgm_ops) WHERE is_named AND finished_at IS NOT NULL",
    "task_runs_live_named": "USING btree (id) WHERE is_named AND finished_at IS NULL",
    "task_runs_slow": (
        "USING btree ((finished_at - started_at), id) WHERE (finished_at - started_at) >= interval '10 seconds'"
    ),
}
STATISTICS = "task_runs_durations"


def upgrade() -> None:
    """Add the column, build the indexes."""
    # Every step may be repeated, because what comes before the indexes is committed before they are built.
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    named = sa.Column("is_named", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    op.add_column("task_runs", named, if_not_exists=True)
    with op.get_context().autocommit_block():
        for name, definition in INDEXES.items():
            # One that was cut off half way is there, and not valid.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON task_runs {definition}")
        # The planner takes none from an index that holds only some runs.
        op.execute(f"CREATE STATISTICS IF NOT EXISTS {STATISTICS} ON (finished_at - started_at) FROM task_runs")


def downgrade() -> None:
    """Undo it; the extension stays, because others use it."""
    op.execute(f"DROP STATISTICS IF EXISTS {STATISTICS}")
    for name in INDEXES:
        op.execute(f"DROP INDEX IF EXISTS {name}")
    op.drop_column("task_runs", "is_named")
