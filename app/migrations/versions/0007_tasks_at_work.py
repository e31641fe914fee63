"""Saved tasks at work: their search, retry policies, summaries, cooldowns and saved searches.

Safe beside old servers and workers: columns that may be NULL or have a default, tables that nobody else knows, and an
index on runs that is built while others write. Only the table of tasks is rewritten, which is small.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATUSES = (
    "SCHEDULED", "QUEUED", "RUNNING", "WAITING", "ABORTING", "SUCCEEDED", "FAILED", "ABORTED", "LOST", "EXPIRED",
)  # fmt: skip
CHANGES = "task_runs_task_changes"


def upgrade() -> None:
    """Make the tables, add the columns, and build the index of runs without a lock."""
    # Every step may be repeated, because what comes before the index is committed before it is built.
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    _make_tables()
    for column in (
        sa.Column("triggers", sa.Text(), server_default="BOTH", nullable=False),
        sa.Column("cooldown_seconds", sa.Double(), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
    ):
        op.add_column("task_definitions", column, if_not_exists=True)
    for table in ("task_runs", "tasks"):
        op.add_column(table, sa.Column("retry", postgresql.JSONB(none_as_null=True), nullable=True), if_not_exists=True)
    _make_searchable()
    with op.get_context().autocommit_block():
        # One that was cut off half way is there, and not valid.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {CHANGES}")
        columns = "task_runs (status_changed_at, task_id) WHERE task_id IS NOT NULL"
        op.execute(f"CREATE INDEX CONCURRENTLY {CHANGES} ON {columns}")


def downgrade() -> None:
    """Undo it; the extension stays, because others may use it."""
    op.drop_index(CHANGES, "task_runs")
    for name in ("tasks_words", "tasks_trigrams", "tasks_by_update", "tasks_by_name"):
        op.drop_index(name, "tasks")
    op.drop_column("tasks", "searched")
    for table in ("tasks", "task_runs"):
        op.drop_column(table, "retry")
    for name in ("category", "cooldown_seconds", "triggers"):
        op.drop_column("task_definitions", name)
    for name in ("task_summary_mark", "task_summaries", "saved_searches", "cooldowns"):
        op.drop_table(name)


def _make_tables() -> None:
    op.create_table(
        "cooldowns",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("subject"),
        if_not_exists=True,
    )
    op.create_table(
        "saved_searches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("filter", postgresql.JSONB(), nullable=False),
        sa.Column("is_shared", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('TASKS', 'RUNS')", name="kind_is_known"),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_table(
        "task_summaries",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("last_run_id", sa.Uuid(), nullable=False),
        sa.Column("last_run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_status", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("last_failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_ms", sa.Double(), nullable=True),
        sa.Column("usual_ms", sa.Double(), nullable=True),
        sa.CheckConstraint(f"last_status IN {STATUSES}", name="last_status_is_known"),
        sa.PrimaryKeyConstraint("task_id"),
        if_not_exists=True,
    )
    op.create_table(
        "task_summary_mark",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seen_until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name="only_one"),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    shared = sa.text("is_shared")
    _index("saved_searches_name", "saved_searches", ["owner", "kind", "name"], unique=True)
    _index("saved_searches_shared", "saved_searches", ["kind", "name"], postgresql_where=shared)
    _index("task_summaries_by_failure", "task_summaries", ["last_failed_at", "task_id"])
    _index("task_summaries_by_run", "task_summaries", ["last_run_at", "task_id"])
    _index("task_summaries_by_status", "task_summaries", ["last_status", "task_id"])


def _make_searchable() -> None:
    computed = sa.Computed("lower(name || ' ' || COALESCE(description, ''))", persisted=True)
    op.add_column("tasks", sa.Column("searched", sa.Text(), computed, nullable=True), if_not_exists=True)
    there = sa.text("deleted_at IS NULL")
    _index("tasks_by_name", "tasks", ["name", "id"], postgresql_where=there)
    _index("tasks_by_update", "tasks", ["updated_at", "id"], postgresql_where=there)
    trigrams = {"searched": "gin_trgm_ops"}
    _index("tasks_trigrams", "tasks", ["searched"], postgresql_using="gin", postgresql_ops=trigrams)
    words = sa.literal_column("to_tsvector('simple'::regconfig, searched)")
    _index("tasks_words", "tasks", [words], postgresql_using="gin")


def _index(name: str, table: str, columns: list[object], **options: object) -> None:
    op.create_index(name, table, columns, if_not_exists=True, **options)
