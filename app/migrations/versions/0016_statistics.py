"""Statistics: final runs counted by quarter of an hour, hour and day.

Safe beside old servers and workers: tables that nobody else knows, and no lock on any other. The workers fill them in
batches, from the oldest run on. What an old worker purges before it was counted is not counted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

SCOPES = ("ALL", "DEFINITION", "GROUP", "OWNER")
COUNTERS = ("succeeded", "failed", "aborted", "lost", "expired")
ARRAYS = {
    "duration_bins": sa.SmallInteger(),
    "duration_counts": sa.Integer(),
    "wait_bins": sa.SmallInteger(),
    "wait_counts": sa.Integer(),
    "slow_ids": sa.Uuid(),
    "slow_ms": sa.Double(),
}


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "run_rollups",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        *_measures(),
        sa.CheckConstraint(f"scope IN {SCOPES}", name="scope_is_known"),
        sa.PrimaryKeyConstraint("scope", "key", "minutes", "starts_at"),
    )
    op.create_index("run_rollups_by_time", "run_rollups", ["scope", "minutes", "starts_at"])
    op.create_table(
        "task_rollups",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("definition_id", sa.String(length=100), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        *_measures(),
        sa.PrimaryKeyConstraint("task_id", "minutes", "starts_at", "definition_id", "group_name", "owner"),
    )
    quarters, days = sa.text("minutes = 15"), sa.text("minutes = 1440")
    op.create_index("task_rollups_by_time", "task_rollups", ["starts_at"], postgresql_where=quarters)
    ranked = ["task_id", *COUNTERS, "duration_ms"]
    op.create_index(
        "task_rollups_by_day", "task_rollups", ["starts_at"], postgresql_include=ranked, postgresql_where=days
    )
    for column, name in (("group_name", "task_rollups_by_group"), ("owner", "task_rollups_by_owner")):
        there = sa.text(f"{column} <> ''")
        op.create_index(name, "task_rollups", [column, "minutes", "starts_at"], postgresql_where=there)
    op.create_table(
        "rollup_mark",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("id = 1", name="only_one"),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    """Undo it; what was counted of runs that are gone by now is lost."""
    for table in ("rollup_mark", "task_rollups", "run_rollups"):
        op.drop_table(table)


def _measures() -> list[object]:
    return [
        sa.Column("minutes", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Integer(), server_default="0", nullable=False) for name in COUNTERS),
        *(sa.Column(name, sa.Double(), server_default="0", nullable=False) for name in ("duration_ms", "wait_ms")),
        *(
            sa.Column(name, sa.ARRAY(kind), server_default=sa.text("'{}'"), nullable=False)
            for name, kind in ARRAYS.items()
        ),
        sa.CheckConstraint("minutes IN (15, 60, 1440)", name="minutes_are_known"),
    ]
