"""Retention rules, and runs that are pinned. Safe beside old servers and workers, and without a long lock."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the column, then the index while others write."""
    op.create_table(
        "retention_rules",
        sa.Column("definition_id", sa.String(length=100), nullable=False),
        sa.Column("succeeded_logs_days", sa.Double(), nullable=True),
        sa.Column("failed_logs_days", sa.Double(), nullable=True),
        sa.Column("runs_days", sa.Double(), nullable=True),
        sa.Column("keep_last", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "succeeded_logs_days >= 0 AND failed_logs_days >= 0 AND runs_days >= 0 AND keep_last >= 0",
            name="nothing_is_negative",
        ),
        sa.PrimaryKeyConstraint("definition_id"),
        if_not_exists=True,
    )
    pinned = sa.Column("is_pinned", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    op.add_column("task_runs", pinned, if_not_exists=True)
    with op.get_context().autocommit_block():
        # One that was cut off half way is there, and not valid.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS task_runs_pinned")
        op.execute("CREATE INDEX CONCURRENTLY task_runs_pinned ON task_runs (id) WHERE is_pinned")


def downgrade() -> None:
    """Undo it."""
    op.drop_column("task_runs", "is_pinned")
    op.drop_table("retention_rules")
