"""Groups of errors: failures that have the same cause, counted by the hour; and searches over the text of errors.

Safe beside old servers and workers, and without a long lock: a column without a default, new tables, and indexes built
while others write. Failures from before are grouped by the workers' housekeeping, like those of old workers.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

INDEXES = {
    "task_runs_ungrouped": "USING btree (id) WHERE error_group IS NULL AND status IN ('FAILED', 'LOST')",
    "task_runs_by_error_group": "USING btree (error_group, id) WHERE error_group IS NOT NULL",
    "task_runs_by_error_text": (
        "USING gin ((left((error ->> 'type') || ': ' || (error ->> 'message'), 500)) gin_trgm_ops) "
        "WHERE error_group IS NOT NULL"
    ),
}


def upgrade() -> None:
    """Add the tables and the column, build the indexes."""
    # Every step may be repeated, because what comes before the indexes is committed before they are built.
    _make_groups()
    _make_hours()
    op.add_column("task_runs", sa.Column("error_group", sa.Text(), nullable=True), if_not_exists=True)
    with op.get_context().autocommit_block():
        for name, definition in INDEXES.items():
            # One that was cut off half way is there, and not valid.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON task_runs {definition}")


def downgrade() -> None:
    """Undo it; what was counted is lost, but for what the next upgrade finds in the runs."""
    for name in INDEXES:
        op.execute(f"DROP INDEX IF EXISTS {name}")
    op.drop_column("task_runs", "error_group")
    op.drop_table("error_group_hours")
    op.drop_table("error_groups")


def _make_groups() -> None:
    op.create_table(
        "error_groups",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("definition_id", sa.String(length=100), nullable=False),
        sa.Column("error_type", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=True),
        *_seen(),
        sa.Column("sample_run_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    for name, columns in (
        ("last_seen", ["last_seen", "id"]),
        ("first_seen", ["first_seen", "id"]),
        ("count", ["count", "id"]),
        ("definition", ["definition_id"]),
    ):
        op.create_index(f"error_groups_by_{name}", "error_groups", columns, if_not_exists=True)


def _make_hours() -> None:
    op.create_table(
        "error_group_hours",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("error_group_id", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("group_name", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        *_seen(),
        sa.Column("last_run_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["error_group_id"], ["error_groups.id"], ondelete="CASCADE"),
        if_not_exists=True,
    )
    key = ["error_group_id", "hour", "task_id", "group_name", "owner"]
    op.create_index(
        "error_group_hours_key", "error_group_hours", key, unique=True, postgresql_nulls_not_distinct=True,
        if_not_exists=True,
    )  # fmt: skip
    op.create_index("error_group_hours_by_hour", "error_group_hours", ["hour"], if_not_exists=True)
    op.create_index(
        "error_group_hours_by_task", "error_group_hours", ["task_id"],
        postgresql_where=sa.text("task_id IS NOT NULL"), if_not_exists=True,
    )  # fmt: skip


def _seen() -> tuple[sa.Column[int], ...]:
    return (
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
    )
