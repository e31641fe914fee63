"""Indexes of batches that keep only what is looked for: those that something follows, and those that are not sealed.

Safe beside old servers and workers, which find the same batches by the first of them, and without a lock.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

OLD = {"batches_open": "completed_at IS NULL"}
NEW = {
    "batches_followed": "complete_definition_id IS NOT NULL AND completed_at IS NULL",
    "batches_unsealed": "sealed_at IS NULL",
}


def upgrade() -> None:
    """Put the new indexes in the place of the old one."""
    _exchange(OLD, NEW)


def downgrade() -> None:
    """Put the old index in the place of the new ones."""
    _exchange(NEW, OLD)


def _exchange(old: dict[str, str], new: dict[str, str]) -> None:
    """Make the new indexes, then drop the old ones; after an interruption it can be begun again."""
    with op.get_context().autocommit_block():
        for name, where in new.items():
            op.drop_index(name, "batches", if_exists=True, postgresql_concurrently=True)
            op.create_index(name, "batches", ["id"], postgresql_where=sa.text(where), postgresql_concurrently=True)
        for name in old:
            op.drop_index(name, "batches", if_exists=True, postgresql_concurrently=True)
