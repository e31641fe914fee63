"""The first tables: definitions, runs, iterations, logs and workers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables with their constraints and indexes."""
    op.create_table(
        "task_definitions",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("module", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("input_schema", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("output_schema", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("tags", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("max_iterations", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("timeout_seconds", sa.Double(), nullable=True),
        sa.Column("is_private", sa.Boolean(), nullable=False),
        sa.Column("checks_trigger", sa.Boolean(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "task_iterations",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("claim_no", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("error", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('SUCCEEDED', 'CONTINUED', 'RETRIED', 'FAILED', 'ABORTED', 'INTERRUPTED', 'LOST')",
            name="outcome_is_known",
        ),
        sa.PrimaryKeyConstraint("run_id", "claim_no"),
    )
    op.create_table(
        "task_logs",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("level IN ('DEBUG', 'INFO', 'WARNING', 'ERROR')", name="level_is_known"),
        sa.CheckConstraint("sequence >= 1", name="sequence_counts"),
        sa.PrimaryKeyConstraint("run_id", "sequence"),
    )
    op.create_table(
        "task_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("definition_id", sa.String(length=100), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("status_changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("input", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("output", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("state", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("progress", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("tags", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("timeout_seconds", sa.Double(), nullable=True),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("max_iterations", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("interruptions", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("input_digest", sa.Text(), nullable=True),
        sa.Column("unique_key", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("rerun_of", sa.Uuid(), nullable=True),
        sa.Column("wait_for", sa.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("claim_no", sa.Integer(), server_default="0", nullable=False),
        sa.Column("write_no", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Uuid(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("abort_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("abort_requested_by", sa.Text(), nullable=True),
        sa.Column("abort_message", sa.Text(), nullable=True),
        sa.Column("abort_forced", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("log_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("log_debug", sa.Integer(), server_default="0", nullable=False),
        sa.Column("log_info", sa.Integer(), server_default="0", nullable=False),
        sa.Column("log_warning", sa.Integer(), server_default="0", nullable=False),
        sa.Column("log_error", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("(status IN ('RUNNING', 'ABORTING')) = (lease_owner IS NOT NULL)", name="held_means_leased"),
        sa.CheckConstraint(
            "(status IN ('SUCCEEDED', 'FAILED', 'ABORTED', 'LOST', 'EXPIRED')) = (finished_at IS NOT NULL)",
            name="final_means_finished",
        ),
        sa.CheckConstraint("status <> 'ABORTING' OR abort_requested_at IS NOT NULL", name="aborting_means_asked"),
        sa.CheckConstraint("status <> 'SCHEDULED' OR started_at IS NULL", name="scheduled_means_not_started"),
        sa.CheckConstraint(
            "status IN ('SCHEDULED', 'QUEUED', 'RUNNING', 'WAITING', 'ABORTING', 'SUCCEEDED', 'FAILED', 'ABORTED', 'LOST', 'EXPIRED')",
            name="status_is_known",
        ),
        sa.CheckConstraint(
            "status_reason IN ('CONTINUED', 'RETRY', 'RETRY_LATER', 'WAITING_FOR_CHILDREN', 'SHUTDOWN', 'WORKER_LOST', 'ERROR', 'TIMEOUT', 'INVALID_INPUT', 'INVALID_OUTPUT', 'MAX_ATTEMPTS', 'MAX_ITERATIONS', 'MAX_INTERRUPTIONS', 'ABORT_REQUESTED', 'ABORT_FORCED', 'FINISHED_BEFORE_ABORT', 'TTL')",
            name="status_reason_is_known",
        ),
        sa.CheckConstraint("iteration >= 1 AND attempt >= 1 AND interruptions >= 0", name="counters_count"),
        sa.PrimaryKeyConstraint("id"),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index(
        "task_runs_asleep",
        "task_runs",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('SCHEDULED', 'WAITING')"),
    )
    op.create_index("task_runs_by_definition", "task_runs", ["definition_id", "id"], unique=False)
    op.create_index(
        "task_runs_by_finish",
        "task_runs",
        ["finished_at", "id"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "task_runs_by_parent",
        "task_runs",
        ["parent_id", "id"],
        unique=False,
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )
    op.create_index("task_runs_by_priority", "task_runs", ["priority", "id"], unique=False)
    op.create_index("task_runs_by_queue", "task_runs", ["queue", "id"], unique=False)
    op.create_index(
        "task_runs_by_start",
        "task_runs",
        ["started_at", "id"],
        unique=False,
        postgresql_where=sa.text("started_at IS NOT NULL"),
    )
    op.create_index("task_runs_by_status", "task_runs", ["status", "id"], unique=False)
    op.create_index(
        "task_runs_by_tag",
        "task_runs",
        ["tags"],
        unique=False,
        postgresql_using="gin",
        postgresql_where=sa.text("tags <> '{}'"),
    )
    op.create_index(
        "task_runs_expiring",
        "task_runs",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("expires_at IS NOT NULL AND status IN ('SCHEDULED', 'QUEUED')"),
    )
    op.create_index(
        "task_runs_held",
        "task_runs",
        ["lease_owner"],
        unique=False,
        postgresql_where=sa.text("status IN ('RUNNING', 'ABORTING')"),
    )
    op.create_index(
        "task_runs_idempotency",
        "task_runs",
        ["definition_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "task_runs_queued",
        "task_runs",
        ["queue", sa.literal_column("priority DESC"), "due_at", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'QUEUED'"),
    )
    op.create_index(
        "task_runs_unique",
        "task_runs",
        ["definition_id", "unique_key"],
        unique=True,
        postgresql_where=sa.text(
            "unique_key IS NOT NULL AND status NOT IN ('SUCCEEDED', 'FAILED', 'ABORTED', 'LOST', 'EXPIRED')"
        ),
    )
    op.create_index(
        "task_runs_with_error", "task_runs", ["id"], unique=False, postgresql_where=sa.text("error IS NOT NULL")
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("definition_ids", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("running", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_draining", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    """Undo it."""
    op.drop_table("workers")
    op.drop_index("task_runs_with_error", table_name="task_runs", postgresql_where=sa.text("error IS NOT NULL"))
    op.drop_index(
        "task_runs_unique",
        table_name="task_runs",
        postgresql_where=sa.text(
            "unique_key IS NOT NULL AND status NOT IN ('SUCCEEDED', 'FAILED', 'ABORTED', 'LOST', 'EXPIRED')"
        ),
    )
    op.drop_index("task_runs_queued", table_name="task_runs", postgresql_where=sa.text("status = 'QUEUED'"))
    op.drop_index(
        "task_runs_idempotency", table_name="task_runs", postgresql_where=sa.text("idempotency_key IS NOT NULL")
    )
    op.drop_index(
        "task_runs_held", table_name="task_runs", postgresql_where=sa.text("status IN ('RUNNING', 'ABORTING')")
    )
    op.drop_index(
        "task_runs_expiring",
        table_name="task_runs",
        postgresql_where=sa.text("expires_at IS NOT NULL AND status IN ('SCHEDULED', 'QUEUED')"),
    )
    op.drop_index(
        "task_runs_by_tag", table_name="task_runs", postgresql_using="gin", postgresql_where=sa.text("tags <> '{}'")
    )
    op.drop_index("task_runs_by_status", table_name="task_runs")
    op.drop_index("task_runs_by_start", table_name="task_runs", postgresql_where=sa.text("started_at IS NOT NULL"))
    op.drop_index("task_runs_by_queue", table_name="task_runs")
    op.drop_index("task_runs_by_priority", table_name="task_runs")
    op.drop_index("task_runs_by_parent", table_name="task_runs", postgresql_where=sa.text("parent_id IS NOT NULL"))
    op.drop_index("task_runs_by_finish", table_name="task_runs", postgresql_where=sa.text("finished_at IS NOT NULL"))
    op.drop_index("task_runs_by_definition", table_name="task_runs")
    op.drop_index(
        "task_runs_asleep", table_name="task_runs", postgresql_where=sa.text("status IN ('SCHEDULED', 'WAITING')")
    )
    op.drop_table("task_runs")
    op.drop_table("task_logs")
    op.drop_table("task_iterations")
    op.drop_table("task_definitions")
