"""Schedules and their ticks, and the schedule that is shipped: ``purge-history``, every day.

Safe beside old servers and workers: tables that nobody else knows, and an index on runs that is built while others
write. Who deletes or pauses the shipped schedule is not overruled later, because only this migration makes it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

LIVE = "task_runs_live_by_schedule"
TASK, SCHEDULE = "0195a000-0000-7000-8000-000000000001", "0195a000-0000-7000-8000-000000000002"
PURGE_TASK = f"""
    INSERT INTO tasks (id, name, description, definition_id, input, tags, owner, created_by, updated_by)
    VALUES ('{TASK}', 'Purge old runs', 'Deletes runs that finished long ago, every day.', 'purge-history', '{{}}',
        '{{maintenance}}', 'SYSTEM:taskloom', 'SYSTEM:taskloom', 'SYSTEM:taskloom')
    ON CONFLICT DO NOTHING"""
# Nothing for a database where a task of that name stood in the way.
PURGE_REVISION = f"""
    INSERT INTO task_revisions (task_id, version, changed_by, change, fields)
    SELECT id, 1, created_by, 'CREATED', jsonb_build_object('name', name, 'description', description, 'definition_id',
        definition_id, 'input', input, 'tags', tags, 'owner', owner, 'is_enabled', is_enabled)
    FROM tasks WHERE id = '{TASK}' ON CONFLICT DO NOTHING"""
PURGE_SCHEDULE = f"""
    INSERT INTO schedules (id, task_id, name, cron, time_zone, jitter_seconds, overlap, catch_up, owner, status,
        next_tick_at, next_due_at, created_by, updated_by)
    SELECT '{SCHEDULE}', id, 'Every night', '17 3 * * *', 'UTC', 0, 'SKIP', 'LAST', owner, 'ACTIVE', next, next, owner,
        owner
    FROM tasks, (SELECT day + CASE WHEN day > now() THEN interval '0' ELSE interval '24 hours' END AS next
        FROM (SELECT (date_trunc('day', now() AT TIME ZONE 'UTC') + interval '3 hours 17 minutes') AT TIME ZONE 'UTC'
            AS day) AS today) AS planned
    WHERE id = '{TASK}' ON CONFLICT DO NOTHING"""


def upgrade() -> None:
    """Build the index of runs without a lock, then make the tables and what is shipped."""
    with op.get_context().autocommit_block():
        # One that was cut off half way is there, and not valid.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {LIVE}")
        op.execute(
            f"CREATE INDEX CONCURRENTLY {LIVE} ON task_runs (schedule_id, id) WHERE schedule_id IS NOT NULL "
            "AND status NOT IN ('SUCCEEDED', 'FAILED', 'ABORTED', 'LOST', 'EXPIRED')"
        )
    _make_tables()
    for statement in (PURGE_TASK, PURGE_REVISION, PURGE_SCHEDULE):
        op.execute(statement)


def downgrade() -> None:
    """Undo it; the shipped task goes with its schedule."""
    op.drop_index(LIVE, "task_runs")
    op.drop_table("schedules")
    op.drop_table("schedule_ticks")
    op.execute(f"DELETE FROM task_revisions WHERE task_id = '{TASK}'")
    op.execute(f"DELETE FROM tasks WHERE id = '{TASK}'")


def _make_tables() -> None:
    op.create_table(
        "schedule_ticks",
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("tick_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_tick_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ticks", sa.Integer(), server_default="1", nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(outcome = 'RAN') = (run_id IS NOT NULL)", name="ran_means_run"),
        sa.CheckConstraint("outcome IN ('RAN', 'WAITING', 'SKIPPED', 'MISSED')", name="outcome_is_known"),
        sa.CheckConstraint(
            "reason IN ('OVERLAP', 'BUFFER_FULL', 'PAUSED', 'FAILURES', 'OWNER', 'TASK_DISABLED', 'TASK_DELETED', 'REFUSED', 'TOO_LATE', 'CAUGHT_UP')",
            name="reason_is_known",
        ),
        sa.PrimaryKeyConstraint("schedule_id", "tick_at"),
    )
    op.create_index("schedule_ticks_by_time", "schedule_ticks", ["decided_at"], unique=False)
    op.create_index(
        "schedule_ticks_waiting",
        "schedule_ticks",
        ["schedule_id", "tick_at"],
        unique=False,
        postgresql_where=sa.text("outcome = 'WAITING'"),
    )
    op.create_table(
        "schedules",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("cron", sa.Text(), nullable=True),
        sa.Column("every_seconds", sa.Double(), nullable=True),
        sa.Column("anchor_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("once_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("jitter_seconds", sa.Double(), server_default="0", nullable=False),
        sa.Column("overlap", sa.Text(), nullable=False),
        sa.Column("catch_up", sa.Text(), nullable=False),
        sa.Column("catch_up_seconds", sa.Double(), server_default="86400", nullable=False),
        sa.Column("max_failures", sa.Integer(), nullable=True),
        sa.Column("input", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column("pause_message", sa.Text(), nullable=True),
        sa.Column("active_since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("next_tick_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("write_no", sa.Integer(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'ACTIVE' AND deleted_at IS NULL) = (next_tick_at IS NOT NULL) AND (next_tick_at IS NULL) = (next_due_at IS NULL)",
            name="active_means_next",
        ),
        sa.CheckConstraint("(status = 'PAUSED') = (pause_reason IS NOT NULL)", name="paused_means_why"),
        sa.CheckConstraint("catch_up IN ('NONE', 'LAST', 'ALL')", name="catch_up_is_known"),
        sa.CheckConstraint(
            "overlap IN ('SKIP', 'BUFFER_ONE', 'BUFFER_ALL', 'ABORT_RUNNING', 'ALLOW_ALL')", name="overlap_is_known"
        ),
        sa.CheckConstraint(
            "pause_reason IN ('REQUESTED', 'FAILURES', 'OWNER', 'TASK_DELETED')", name="pause_reason_is_known"
        ),
        sa.CheckConstraint("status IN ('ACTIVE', 'PAUSED', 'ENDED')", name="status_is_known"),
        sa.CheckConstraint("num_nonnulls(cron, every_seconds, once_at) = 1", name="one_timing"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "schedules_by_status",
        "schedules",
        ["status", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "schedules_by_task",
        "schedules",
        ["task_id", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "schedules_due", "schedules", ["next_due_at"], unique=False, postgresql_where=sa.text("next_due_at IS NOT NULL")
    )
