"""All SQL on the partitions of logs and iterations: a week of runs each, by the time that is in a run's id.

Both tables are divided alike. What no partition is for, as the runs of a clock that is months ahead, or of a week whose
partition is gone, is in the default partition. Partitions are made ahead, and dropped when their week is gone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from app.db import Pipe
from app.ids import first_id
from app.models import statuses
from app.states import LIVE

TABLES = ("task_iterations", "task_logs")
"""In the order in which a settlement writes them, and so in the order in which they are locked."""
WEEK = timedelta(days=7)
WEEKS_AHEAD = 4
MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
# Any number will do as long as nothing else on the database takes an advisory lock with it.
_MAKING, PINS = 7_215_318_664_011, 7_215_318_664_012
LOCK_MILLISECONDS = 100
"""How long others wait behind a drop that cannot have its lock, at the most."""

_BOUNDS = re.compile(r"FROM \((MINVALUE|'(?P<low>[^']+)')\) TO \('(?P<high>[^']+)'\)")
_PARTITIONS = """
    SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'task_iterations'::regclass"""
_OPTIONS = "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = to_regclass($1)"
_IN_USE = f"""
    SELECT EXISTS (SELECT FROM task_runs WHERE is_pinned AND id >= $1 AND id < $2)
        OR EXISTS (SELECT FROM task_runs WHERE status IN {statuses(LIVE)} AND id >= $1 AND id < $2)"""


@dataclass(frozen=True, slots=True)
class Span:
    """The runs of one partition: ids from ``low`` to below ``high``; ``suffix`` is what its tables' names end with."""

    suffix: str
    low: UUID
    high: UUID


class Partitions:
    """Makes, lists and drops partitions, in one transaction."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def spans(self) -> list[Span]:
        """The spans of all partitions but the default one, the oldest first."""
        spans: list[Span] = []
        for row in await self._pipe.fetch(_PARTITIONS):
            if found := _BOUNDS.search(row["bounds"]):
                suffix = row["name"].removeprefix(f"{TABLES[0]}_")
                spans.append(Span(suffix, UUID(found["low"] or str(UUID(int=0))), UUID(found["high"])))
        return sorted(spans, key=lambda span: span.high)

    async def missing(self, now: datetime) -> list[Span]:
        """The weeks up to ``WEEKS_AHEAD`` from now that have no partition yet and lie behind all that have."""
        spans = await self.spans()
        last = max((span.high for span in spans), default=UUID(int=0))
        first = MONDAY + (now - MONDAY) // WEEK * WEEK
        starts = [first + n * WEEK for n in range(WEEKS_AHEAD + 1)]
        wanted = [Span(f"{start:%Y%m%d}", first_id(start), first_id(start + WEEK)) for start in starts]
        return [span for span in wanted if span.low >= last]

    async def make(self, span: Span) -> bool:
        """Make the partitions of a week, set up as those of the week before; False when somebody else is at it.

        Neither readers nor writers are locked out of anything but the default partition, which is all but empty. Raises
        ``asyncpg.CheckViolationError`` when runs of that week are in the default partition already: they stay there.
        """
        if not await self._pipe.fetchval("SELECT pg_try_advisory_xact_lock($1)", _MAKING):
            return False
        await self._bound_waiting()
        spans = await self.spans()
        latest = spans[-1].suffix if spans else "default"
        for table in TABLES:
            name = f"{table}_{span.suffix}"
            options = await self._options(f"{table}_{latest}")
            await self._pipe.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL) {options}")
            bounds = f"FOR VALUES FROM ('{span.low}') TO ('{span.high}')"
            await self._pipe.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} {bounds}")
        return True

    async def drop(self, span: Span) -> bool:
        """Drop the partitions of a week, unless one of its runs is live or pinned; returns whether they are gone.

        The caller has seen that nothing in them is to be kept. Raises ``asyncpg.LockNotAvailableError`` when somebody
        uses the tables for longer than ``LOCK_MILLISECONDS``; nothing is dropped then.
        """
        await self._bound_waiting()
        await self._pipe.execute("SELECT pg_advisory_xact_lock($1)", PINS)
        for table in TABLES:
            await self._pipe.execute(f"LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE")
        # Locked as they are, no worker can write for a run that becomes live or pinned after this question.
        if await self._pipe.fetchval(_IN_USE, span.low, span.high):
            return False
        for table in TABLES:
            await self._pipe.execute(f"DROP TABLE {table}_{span.suffix}")
        return True

    async def _options(self, partition: str) -> str:
        """What an operator has set for a partition, as for vacuum, for the next one: LIKE does not take it over."""
        options = await self._pipe.fetchval(_OPTIONS, partition)
        return f"WITH ({options})" if options else ""

    async def _bound_waiting(self) -> None:
        await self._pipe.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")


async def hold_off_drops(pipe: Pipe) -> None:
    """Let no partition be dropped until this transaction ends: somebody pins a run."""
    await pipe.execute("SELECT pg_advisory_xact_lock_shared($1)", PINS)


BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
"""What says that the tables are in use, so that it is better to come again later."""
