"""Limits: the key of a run, and whose limit it waits for.

Safe beside old servers and workers, and without a long lock: columns without a default, constraints that are checked
after they were added, indexes built while others write. An old worker finds due runs by a slower index meanwhile.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

REASONS = (
    "CONTINUED", "RETRY", "RETRY_LATER", "WAITING_FOR_CHILDREN", "SHUTDOWN", "WORKER_LOST", "ERROR", "TIMEOUT",
    "INVALID_INPUT", "INVALID_OUTPUT", "MAX_ATTEMPTS", "MAX_ITERATIONS", "MAX_INTERRUPTIONS", "ABORT_REQUESTED",
    "ABORT_FORCED", "FINISHED_BEFORE_ABORT", "TTL",
)  # fmt: skip
NEW_REASONS = ("CONCURRENCY_LIMIT", "RATE_LIMIT")
PARKED_ORDER = "queue, (started_at IS NULL), priority DESC, due_at, id"
PARKED = "status = 'QUEUED' AND parked IS NOT NULL"
STARTED = "limit_key IS NOT NULL AND started_at IS NOT NULL"
INDEXES = {
    "task_runs_claimable": ("queue, priority DESC, due_at, id", "status = 'QUEUED' AND parked IS NULL"),
    "task_runs_parked_by_key": (f"definition_id, limit_key, {PARKED_ORDER}", PARKED),
    "task_runs_parked": (f"definition_id, {PARKED_ORDER}", "status = 'QUEUED' AND parked = 'DEFINITION'"),
    "task_runs_limited_live": (
        "definition_id, limit_key, id",
        "limit_key IS NOT NULL AND status IN ('QUEUED', 'RUNNING', 'WAITING', 'ABORTING')",
    ),
    "task_runs_limited_starts": ("definition_id, started_at", STARTED),
    "task_runs_limited_starts_by_key": ("definition_id, limit_key, started_at", STARTED),
}
FIRST_INDEX = ("queue, priority DESC, due_at, id", "status = 'QUEUED'")


def upgrade() -> None:
    """Add the columns, let the new reasons in, build the indexes."""
    # Every step may be repeated, because what comes before the indexes is committed before they are built.
    limits = sa.Column("limits", postgresql.JSONB(none_as_null=True), nullable=True)
    op.add_column("task_definitions", limits, if_not_exists=True)
    for name in ("limit_key", "parked"):
        op.add_column("task_runs", sa.Column(name, sa.Text(), nullable=True), if_not_exists=True)
    _replace_check("status_reason", REASONS + NEW_REASONS)
    _replace_check("parked", ("KEY", "DEFINITION"))
    with op.get_context().autocommit_block():
        for name in ("status_reason", "parked"):
            op.execute(f"ALTER TABLE task_runs VALIDATE CONSTRAINT {name}_is_known")
        for name, (columns, condition) in INDEXES.items():
            _build_index(name, columns, condition)
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS task_runs_queued")


def downgrade() -> None:
    """Undo it; parked runs are queued like any other again."""
    op.execute(f"UPDATE task_runs SET status_reason = NULL WHERE status_reason IN {NEW_REASONS}")
    _replace_check("status_reason", REASONS)
    for name in INDEXES:
        op.execute(f"DROP INDEX IF EXISTS {name}")
    op.drop_column("task_runs", "parked")
    op.drop_column("task_runs", "limit_key")
    op.drop_column("task_definitions", "limits")
    with op.get_context().autocommit_block():
        _build_index("task_runs_queued", *FIRST_INDEX)


def _replace_check(column: str, values: tuple[str, ...]) -> None:
    op.execute(f"ALTER TABLE task_runs DROP CONSTRAINT IF EXISTS {column}_is_known")
    check = f"CHECK ({column} IN {values}) NOT VALID"
    op.execute(f"ALTER TABLE task_runs ADD CONSTRAINT {column}_is_known {check}")


def _build_index(name: str, columns: str, condition: str) -> None:
    # One that was cut off half way is there, and not valid.
    op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    op.execute(f"CREATE INDEX CONCURRENTLY {name} ON task_runs ({columns}) WHERE {condition}")
