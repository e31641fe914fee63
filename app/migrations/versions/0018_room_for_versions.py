"""Room for versions: pages of the indexes that get an entry with every change of a run are filled by half at first.

Safe beside old servers and workers: it waits for no writer, and concerns the pages that come. Older ones are as they are
until somebody rebuilds them, which nobody has to.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

NAMES = (
    "pkey", "by_definition", "by_other_queue", "by_start", "by_other_priority", "by_parent", "by_task", "by_group",
    "by_owner", "by_schedule", "by_batch",
)  # fmt: skip


def upgrade() -> None:
    """Leave half of each new page free."""
    for name in NAMES:
        op.execute(f"ALTER INDEX task_runs_{name} SET (fillfactor = 50)")


def downgrade() -> None:
    """Undo it."""
    for name in NAMES:
        op.execute(f"ALTER INDEX task_runs_{name} RESET (fillfactor)")
