"""Short checks: the conditions of runs say what they said, in two thirds of the text that each statement parses.

Safe beside old servers and workers: the new conditions take the place of the old ones at once, and what is stored is
looked through while others write.
"""

from alembic import op

from app.migrations.turns import in_turns

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

FINAL = ("ABORTED", "EXPIRED", "FAILED", "LOST", "SUCCEEDED")
HELD = ("ABORTING", "RUNNING")
STATUSES = (*FINAL, *HELD, "QUEUED", "SCHEDULED", "WAITING")
REASONS = (
    "ABORT_FORCED", "ABORT_REQUESTED", "CHILD_FAILED", "CONCURRENCY_LIMIT", "CONTINUED", "ERROR",
    "FINISHED_BEFORE_ABORT", "INVALID_INPUT", "INVALID_OUTPUT", "MAX_ATTEMPTS", "MAX_INTERRUPTIONS", "MAX_ITERATIONS",
    "RATE_LIMIT", "RETRY", "RETRY_LATER", "SHUTDOWN", "TIMEOUT", "TTL", "WAITING_FOR_CHILDREN", "WORKER_LOST",
)  # fmt: skip
CHECKS = {
    "status_is_known": ("status", STATUSES, "{}"),
    "status_reason_is_known": ("status_reason", REASONS, "{}"),
    "final_means_finished": ("status", FINAL, "({}) = (finished_at IS NOT NULL)"),
    "held_means_leased": ("status", HELD, "({}) = (lease_owner IS NOT NULL)"),
    "parked_is_known": ("parked", ("DEFINITION", "KEY"), "{}"),
    "failure_policy_is_known": ("failure_policy", ("CONTINUE", "FAIL_PARENT", "IGNORE"), "{}"),
}


def upgrade() -> None:
    """Replace the conditions."""
    _replace("{column} = ANY ('{{{values}}}'::text[])", ",")


def downgrade() -> None:
    """Undo it."""
    _replace("{column} IN ('{values}')", "', '")


def _replace(condition: str, separator: str) -> None:
    changes = [
        f"DROP CONSTRAINT IF EXISTS {name}, ADD CONSTRAINT {name} CHECK ("
        + means.format(condition.format(column=column, values=separator.join(sorted(values))))
        + ") NOT VALID"
        for name, (column, values, means) in CHECKS.items()
    ]
    # Every step may be repeated, because each is committed by itself.
    with op.get_context().autocommit_block():
        in_turns(f"ALTER TABLE task_runs {', '.join(changes)};")
        op.execute("ALTER TABLE task_runs " + ", ".join(f"VALIDATE CONSTRAINT {name}" for name in CHECKS))
