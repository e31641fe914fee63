"""Final runs of every kind, stored as they are after years of work, and what statistics should say of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any
from uuid import UUID, uuid4

from app.db import Database
from app.histogram import ERROR
from app.ids import new_id
from app.rollups import Rollups
from app.service.statistics_reading import Measures

STATUSES = ("SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "FAILED", "ABORTED", "LOST", "EXPIRED")
_STORE = """
    INSERT INTO task_runs (id, definition_id, name, status, status_changed_at, queue, iteration, max_iterations,
        attempt, max_attempts, created_at, start_at, started_at, finished_at, created_by, task_id, group_name, owner)
    SELECT id, definition, 'Run', status, finished, 'default', 1, 1, 1, 1, due, due, started, finished, 'USER:ada',
        task, grp, own
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[], $7::uuid[],
        $8::text[], $9::text[]) AS r(id, definition, status, due, started, finished, task, grp, own)"""


@dataclass(frozen=True)
class Finished:
    """A final run."""

    id: UUID
    definition: str
    status: str
    due: datetime
    started: datetime | None
    finished: datetime
    task: UUID | None = None
    group: str | None = None
    owner: str | None = None

    @property
    def duration(self) -> float | None:
        """In milliseconds, from its start."""
        return None if self.started is None else (self.finished - self.started) / timedelta(milliseconds=1)

    @property
    def wait(self) -> float | None:
        """In milliseconds, until its start."""
        return None if self.started is None else max(0.0, (self.started - self.due) / timedelta(milliseconds=1))


def some_tasks(number: int, seed: int = 1) -> list[dict[str, Any]]:
    """What runs have of the tasks they are of; the last one has no group."""
    chance = random.Random(seed)
    owners = ("USER:ada", "USER:bob", "SERVICE:ci")
    made: list[dict[str, Any]] = [
        {"task": uuid4(), "group": chance.choice(("mail", "money")), "owner": chance.choice(owners)}
        for _ in range(number)
    ]
    made[-1]["group"] = None
    return made


def at_random(
    since: datetime, until: datetime, number: int, seed: int = 1, tasks: Sequence[Any] = ()
) -> list[Finished]:
    """So many runs that finished within a time, some of them of these tasks."""
    chance = random.Random(seed)
    made: list[Finished] = []
    for _ in range(number):
        finished = since + (until - since) * chance.random()
        status = chance.choice(STATUSES)
        took = timedelta(milliseconds=round(chance.lognormvariate(6, 3), 3))
        started = None if status == "EXPIRED" else finished - took
        due = (started or finished) - timedelta(milliseconds=chance.choice((-5, 0, 1, 40, 90_000)))
        provenance: dict[str, Any] = chance.choice([{}, *tasks])
        made.append(Finished(uuid4(), chance.choice("abc"), status, due, started, finished, **provenance))
    return made


def plain(finished: datetime, *, took: float = 1.0, status: str = "SUCCEEDED", definition: str = "a") -> Finished:
    """A run of no task that took so many seconds."""
    started = finished - timedelta(seconds=took)
    return Finished(new_id(), definition, status, started, started, finished)


async def store(db: Database, runs: Sequence[Finished]) -> None:
    """Store them as they are."""
    rows = [(r.id, r.definition, r.status, r.due, r.started, r.finished, r.task, r.group, r.owner) for r in runs]
    async with db.pipe() as pipe:
        await pipe.execute(_STORE, *(list(column) for column in zip(*rows, strict=True)))


async def count_all(db: Database, batch: int = 20_000, behind_seconds: float = 0.0) -> None:
    """Count all that has finished up to so many seconds ago."""
    rollups = Rollups(db, batch, behind_seconds)
    while await rollups.catch_up():
        pass


def assert_measured(measures: Measures, runs: Sequence[Finished]) -> None:
    """The measures are those of these runs: exactly, percentiles within the stated error."""
    for name in ("SUCCEEDED", "FAILED", "ABORTED", "LOST", "EXPIRED"):
        assert getattr(measures, name.lower()) == sum(run.status == name for run in runs), name
    assert measures.runs == len(runs)
    _assert_spread(measures.duration, sorted(run.duration for run in runs if run.duration is not None))
    _assert_spread(measures.wait, sorted(run.wait for run in runs if run.wait is not None))


def _assert_spread(found: Any, values: Sequence[float]) -> None:
    if not values:
        assert (found.p50, found.p95, found.p99, found.average) == (None, None, None, None)
        return
    assert abs(found.average - sum(values) / len(values)) <= 1e-6 * max(values) + 0.001
    for part, value in ((0.5, found.p50), (0.95, found.p95), (0.99, found.p99)):
        exact = values[max(1, ceil(part * len(values))) - 1]
        assert abs(value - exact) <= ERROR * exact + 0.001, (part, value, exact)


def within(
    runs: Sequence[Finished], since: datetime, until: datetime, fits: Callable[[Finished], bool]
) -> list[Finished]:
    """Those that finished within a time and fit."""
    return [run for run in runs if since <= run.finished < until and fits(run)]
