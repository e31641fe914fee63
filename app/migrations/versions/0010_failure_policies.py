"""Failure policies: what a run that waits for others makes of those that do not succeed.

Safe beside old servers and workers, and without a long lock: a column without a default, constraints that are checked
after they were added. A run that an old worker wakes goes on as with CONTINUE.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

REASONS = (
    "CONTINUED", "RETRY", "RETRY_LATER", "WAITING_FOR_CHILDREN", "SHUTDOWN", "WORKER_LOST", "ERROR", "TIMEOUT",
    "INVALID_INPUT", "INVALID_OUTPUT", "MAX_ATTEMPTS", "MAX_ITERATIONS", "MAX_INTERRUPTIONS", "ABORT_REQUESTED",
    "ABORT_FORCED", "FINISHED_BEFORE_ABORT", "TTL", "CONCURRENCY_LIMIT", "RATE_LIMIT",
)  # fmt: skip
POLICIES = ("CONTINUE", "IGNORE", "FAIL_PARENT")


def upgrade() -> None:
    """Add the column, and let the new reason in."""
    # Every step may be repeated, because what comes before the validation is committed before it.
    op.add_column("task_runs", sa.Column("failure_policy", sa.Text(), nullable=True), if_not_exists=True)
    _replace_check("status_reason", (*REASONS, "CHILD_FAILED"))
    _replace_check("failure_policy", POLICIES)
    with op.get_context().autocommit_block():
        for name in ("status_reason", "failure_policy"):
            op.execute(f"ALTER TABLE task_runs VALIDATE CONSTRAINT {name}_is_known")


def downgrade() -> None:
    """Undo it; the runs that failed with a child keep their error, which names it."""
    op.execute("UPDATE task_runs SET status_reason = NULL WHERE status_reason = 'CHILD_FAILED'")
    _replace_check("status_reason", REASONS)
    op.drop_column("task_runs", "failure_policy")


def _replace_check(column: str, values: tuple[str, ...]) -> None:
    op.execute(f"ALTER TABLE task_runs DROP CONSTRAINT IF EXISTS {column}_is_known")
    check = f"CHECK ({column} IN {values}) NOT VALID"
    op.execute(f"ALTER TABLE task_runs ADD CONSTRAINT {column}_is_known {check}")
