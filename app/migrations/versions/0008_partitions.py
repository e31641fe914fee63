"""Logs and iterations in partitions of a week each, by the time in the run's id: see docs/decisions/0016-logs-in-weekly-partitions.md.

The tables of before become the first partitions, with all that they hold and without being read while locked: a CHECK
says beforehand, validated beside writers, that they hold nothing from beyond their bound. What remains is a change of
names, which waits for no more than two seconds at a time. Old servers and workers go on as they are.
"""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

from app.migrations.turns import in_turns

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KEYS = {"task_iterations": "claim_no", "task_logs": "sequence"}
MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
WEEK = timedelta(days=7)
WEEKS_MADE = 4

# One transaction for both, so that they are always divided alike.
SWAP = """
    LOCK TABLE task_iterations, task_logs IN ACCESS EXCLUSIVE MODE;
    {both}"""
DIVIDE = """
        ALTER TABLE {table} RENAME TO {table}_first;
        ALTER TABLE {table}_first RENAME CONSTRAINT {table}_pkey TO {table}_first_pkey;
        CREATE TABLE {table} (LIKE {table}_first INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (run_id);
        ALTER TABLE {table} DROP CONSTRAINT before_partitions;
        ALTER TABLE {table} ADD CONSTRAINT {table}_pkey PRIMARY KEY (run_id, {key});
        ALTER TABLE {table} ATTACH PARTITION {table}_first FOR VALUES FROM (MINVALUE) TO ('{bound}');
        ALTER TABLE {table}_first DROP CONSTRAINT before_partitions;
        {others}
        CREATE TABLE {table}_default PARTITION OF {table} DEFAULT;"""
JOIN = """
    CREATE TABLE {table}_whole (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
    INSERT INTO {table}_whole SELECT * FROM {table};
    DROP TABLE {table};
    ALTER TABLE {table}_whole RENAME TO {table};
    ALTER TABLE {table} ADD CONSTRAINT {table}_pkey PRIMARY KEY (run_id, {key})"""


def upgrade() -> None:
    """Divide both tables, while runs are executed as usual."""
    with op.get_context().autocommit_block():
        if op.get_bind().scalar(sa.text("SELECT relkind = 'p' FROM pg_class WHERE oid = 'task_logs'::regclass")):
            return
        bound = _bound()
        for table in KEYS:
            # One that was cut off after this has to begin by clearing up.
            op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS before_partitions")
            check = f"CHECK (run_id < '{_id(bound)}') NOT VALID"
            op.execute(f"ALTER TABLE {table} ADD CONSTRAINT before_partitions {check}")
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT before_partitions")
        in_turns(SWAP.format(both="".join(_division(table, bound) for table in KEYS)))


def downgrade() -> None:
    """Put everything back into one table each, with the tables locked."""
    for table, key in KEYS.items():
        for statement in JOIN.format(table=table, key=key).split(";"):
            op.execute(statement)


def _bound() -> datetime:
    """A Monday that is at least a week ahead, and beyond all that is stored, whatever clock made it."""
    newest = [op.get_bind().scalar(sa.text(f"SELECT run_id FROM {table} ORDER BY 1 DESC LIMIT 1")) for table in KEYS]
    times = [timedelta(milliseconds=run_id.int >> 80) + datetime(1970, 1, 1, tzinfo=UTC) for run_id in newest if run_id]
    latest = max([datetime.now(UTC) + WEEK, *times])
    return MONDAY + ((latest - MONDAY) // WEEK + 1) * WEEK


def _division(table: str, bound: datetime) -> str:
    starts = [bound + n * WEEK for n in range(WEEKS_MADE)]
    others = "".join(
        f"CREATE TABLE {table}_{start:%Y%m%d} PARTITION OF {table} "
        f"FOR VALUES FROM ('{_id(start)}') TO ('{_id(start + WEEK)}');"
        for start in starts
    )
    return DIVIDE.format(table=table, key=KEYS[table], bound=_id(bound), others=others)


def _id(moment: datetime) -> str:
    milliseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    digits = f"{milliseconds:012x}{0:020x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
