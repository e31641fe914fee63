"""Statistics over a million runs of 10,000 tasks: how fast they are counted, and how fast questions are answered."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app import StatisticsDimension, StatisticsInterval, StatisticsQuery
from app.db import Database
from app.rollups import Rollups
from app.service.statistics_reading import Statistics
from tests.bench.backlog import timed
from tests.bench.bed import Bed

ANSWERS = 50
DAYS = 30
GOAL = 200
ZONE = "Europe/Berlin"
BY_DAY = StatisticsQuery(interval=StatisticsInterval.DAY, time_zone=ZONE)


@dataclass(frozen=True)
class Question:
    """What is asked of statistics."""

    name: str
    ask: Callable[[Statistics], Awaitable[Any]]


def _of_first(**values: Any) -> StatisticsQuery:
    return StatisticsQuery(interval=StatisticsInterval.DAY, time_zone=ZONE, **values)


QUESTIONS = (
    Question("24 hours by hour", lambda s: s.of(StatisticsQuery())),
    Question("30 days by day", lambda s: s.of(BY_DAY)),
    Question("30 days by day of one definition", lambda s: s.of(_of_first(definition_ids=["filled-3"]))),
    Question("30 days by day of one group", lambda s: s.of(_of_first(groups=["Pipeline 11"]))),
    Question("30 days by day of one owner", lambda s: s.of(_of_first(owners=["USER:person-7"]))),
    Question("30 days, 20 definitions", lambda s: s.ranking(BY_DAY, StatisticsDimension.DEFINITION, first=20)),
    Question("30 days, 50 groups", lambda s: s.ranking(BY_DAY, StatisticsDimension.GROUP, first=50)),
    Question("30 days, top 50 of 200 owners", lambda s: s.ranking(BY_DAY, StatisticsDimension.OWNER, first=50)),
    Question("30 days, top 50 of 10,000 tasks", lambda s: s.ranking(BY_DAY, StatisticsDimension.TASK, first=50)),
    Question("30 days, slowest runs", lambda s: s.slowest(BY_DAY)),
)


async def runs_a_second_counted(bed: Bed) -> float:
    """Runs a second that housekeeping counts, all that there are, from the first one on."""
    db = Database(bed.settings.database_url, pool_size=1)
    rollups = Rollups(db)
    start = time.perf_counter()
    while await rollups.catch_up():
        pass
    seconds = time.perf_counter() - start
    await db.close()
    runs: int = await bed.look.fetchval("SELECT count(*) FROM task_runs WHERE finished_at IS NOT NULL")
    for table in ("run_rollups", "task_rollups"):
        await bed.look.execute(f"VACUUM ANALYZE {table}", timeout=600)
    return runs / seconds


async def answers(bed: Bed, question: Question, number: int) -> list[float]:
    """Milliseconds of so many answers, one at a time."""
    return await timed(number, lambda: question.ask(bed.tasks.statistics))
