"""Saved tasks with their revisions, and what a run says of where it comes from."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ON_RUNS = {
    "task_runs_by_task": (["task_id", "id"], "task_id IS NOT NULL", False),
    "task_runs_by_group": (["group_name", "id"], "group_name IS NOT NULL", False),
    "task_runs_by_owner": (["owner", "id"], "owner IS NOT NULL", False),
    "task_runs_by_schedule": (["schedule_id", "id"], "schedule_id IS NOT NULL", False),
    "task_runs_by_batch": (["batch_id", "id"], "batch_id IS NOT NULL", False),
    "task_runs_by_tick": (["schedule_id", "tick_at"], "tick_at IS NOT NULL", True),
}


def upgrade() -> None:
    """Make the tables and columns, and the indexes of runs without a lock."""
    op.create_table(
        "task_revisions",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "version"),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("definition_id", sa.String(length=100), nullable=False),
        sa.Column("input", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("tags", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=True),
        sa.Column("queue", sa.Text(), nullable=True),
        sa.Column("timeout_seconds", sa.Double(), nullable=True),
        sa.Column("max_attempts", sa.Integer(), nullable=True),
        sa.Column("entity_type", sa.Text(), nullable=True),
        sa.Column("entity_id", sa.Text(), nullable=True),
        sa.Column("entity_url", sa.Text(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("version >= 1", name="version_counts"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "tasks_by_definition",
        "tasks",
        ["definition_id", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "tasks_by_group", "tasks", ["group_name", "id"], unique=False, postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.create_index(
        "tasks_by_owner", "tasks", ["owner", "id"], unique=False, postgresql_where=sa.text("deleted_at IS NULL")
    )
    op.create_index("tasks_by_tag", "tasks", ["tags"], unique=False, postgresql_using="gin")
    op.create_index(
        "tasks_name",
        "tasks",
        [sa.literal_column("COALESCE(group_name, '')"), "name"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.add_column("task_runs", sa.Column("task_id", sa.Uuid(), nullable=True))
    op.add_column("task_runs", sa.Column("task_version", sa.Integer(), nullable=True))
    op.add_column("task_runs", sa.Column("group_name", sa.Text(), nullable=True))
    op.add_column("task_runs", sa.Column("owner", sa.Text(), nullable=True))
    op.add_column("task_runs", sa.Column("schedule_id", sa.Uuid(), nullable=True))
    op.add_column("task_runs", sa.Column("tick_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("task_runs", sa.Column("on_behalf_of", sa.Text(), nullable=True))
    op.add_column("task_runs", sa.Column("batch_id", sa.Uuid(), nullable=True))
    with op.get_context().autocommit_block():
        for name, (columns, where, unique) in ON_RUNS.items():
            # What is made concurrently is not undone when the migration is interrupted.
            op.drop_index(name, "task_runs", if_exists=True, postgresql_concurrently=True)
            op.create_index(
                name, "task_runs", columns, unique=unique, postgresql_where=sa.text(where), postgresql_concurrently=True
            )


def downgrade() -> None:
    """Undo it."""
    op.drop_column("task_runs", "batch_id")
    op.drop_column("task_runs", "on_behalf_of")
    op.drop_column("task_runs", "tick_at")
    op.drop_column("task_runs", "schedule_id")
    op.drop_column("task_runs", "owner")
    op.drop_column("task_runs", "group_name")
    op.drop_column("task_runs", "task_version")
    op.drop_column("task_runs", "task_id")
    op.drop_table("tasks")
    op.drop_table("task_revisions")
