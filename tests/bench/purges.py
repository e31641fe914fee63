"""How fast old runs go: by the rules of retention, by age, and as what ``clearExecutions`` clears."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from app import DateTimeRange, RunFilter, clock
from app.service import SweepPosition
from tests.bench import filled
from tests.bench.bed import Bed

RUNS = 100_000
DAYS_AGO, DAYS = 100, 20
LINES = 3
GOAL = 20_000
BATCH = 1000
"""What ``purge-history`` looks at in one transaction by default."""


async def by_rules(bed: Bed) -> None:
    """Sweep, as ``purge-history`` does without an age."""
    position: SweepPosition | None = SweepPosition()
    now = clock.now()
    while position is not None:
        position = (await bed.tasks.retention.sweep(now, after=position, limit=BATCH)).position


async def by_age(bed: Bed) -> None:
    """Purge, as ``purge-history`` does with ``older_than``."""
    position, before = None, _before()
    while (gone := await bed.tasks.purge(before, after=position, limit=BATCH)).position is not None:
        position = gone.position


async def by_clearing(bed: Bed) -> None:
    """A bulk action with a filter, stepped as its run does."""
    old = RunFilter(created_at=DateTimeRange(lt=_before()))
    action = await bed.tasks.bulk.clear_executions(confirm="clear executions", filter=old)
    while (stepped := await bed.tasks.bulk.step(action.id)) is not None and stepped.finished_at is None:
        pass


Way = Callable[[Bed], Awaitable[None]]
WAYS: dict[str, Way] = {
    "by the rules": by_rules,
    "by age": by_age,
    "by `clearExecutions`": by_clearing,
}


# Workers have counted runs as old as these long ago; here is none.
_COUNTED = """
    INSERT INTO rollup_mark (id, finished_at, run_id) VALUES (1, now(), '00000000-0000-0000-0000-000000000000')
    ON CONFLICT (id) DO UPDATE SET finished_at = excluded.finished_at"""


async def runs_a_second(bed: Bed, way: Way, runs: int) -> float:
    """Store so many old runs with log lines and iterations, and remove them; those that are removed a second."""
    await filled.fill_runs(bed, runs, days=DAYS, lines=LINES, ago=DAYS_AGO)
    await bed.look.execute(_COUNTED)
    left = "SELECT count(*) FROM task_runs"
    before = await bed.look.fetchval(left)
    start = time.perf_counter()
    await way(bed)
    seconds = time.perf_counter() - start
    return (before - await bed.look.fetchval(left)) / seconds


def _before() -> datetime:
    return clock.now() - timedelta(days=DAYS_AGO - 1)
