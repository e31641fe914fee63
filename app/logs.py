"""All SQL that reads logs and iterations of runs, for one run or for many at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, null, select, true, union_all

from app.conditions import StringFilter, any_of, string_condition
from app.db import ReadSession
from app.models import TaskIteration, TaskLog, TaskLogLevel
from app.paging import Keyset, Window
from app.rows import detached, grouped
from app.run_filters import TABLE as RUNS
from app.states import HELD, TaskIterationOutcome
from app.windows import each_of, in_order, windowed

LOGS = TaskLog.metadata.tables["task_logs"]
ITERATIONS = TaskIteration.metadata.tables["task_iterations"]
BY_SEQUENCE = Keyset("logs", (int,))
BY_CLAIM = Keyset("iterations", (int,))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Which lines of a run's log are shown; everything given must hold, a list means "any of"."""

    levels: Sequence[TaskLogLevel] | None = None
    iteration: int | None = None
    message: StringFilter | None = None


@dataclass(frozen=True, slots=True)
class IterationRow:
    """One attempt at one iteration; without ``finished_at`` and ``outcome`` it is the one under way."""

    run_id: UUID
    claim_no: int
    number: int
    attempt: int
    worker: str | None
    started_at: datetime
    finished_at: datetime | None
    outcome: TaskIterationOutcome | None
    error: dict[str, Any] | None


def log_cursor(sequence: int) -> str:
    """The cursor of a log line."""
    return BY_SEQUENCE.cursor((sequence,))


def log_sequence(cursor: str) -> int:
    """The number of the log line that a cursor names. Raises ``InvalidArgument``."""
    return BY_SEQUENCE.key(cursor, "after")[0]


class Logs:
    """Reads logs and iterations in one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = cast(Any, session)

    async def after(
        self, run_id: UUID, sequence: int, levels: Sequence[TaskLogLevel] | None, limit: int
    ) -> list[TaskLog]:
        """The next lines of a run's log after one, in order."""
        filter = LogFilter(levels=levels)
        conditions = [LOGS.c.run_id == run_id, LOGS.c.sequence > sequence, *log_conditions(filter)]
        rows = await self._session.exec(select(LOGS).where(*conditions).order_by(LOGS.c.sequence).limit(limit))
        return [_line(row) for row in rows]

    async def read(self, run_ids: Collection[UUID], filter: LogFilter, window: Window) -> dict[UUID, list[TaskLog]]:
        """Of each run's log up to one line more than the window."""
        chosen = select(LOGS).where(*log_conditions(filter))
        rows = await self._session.exec(_each(run_ids, chosen, LOGS.c.run_id, LOGS.c.sequence, window))
        return grouped(run_ids, [(row.run_id, _line(row)) for row in rows])

    async def iterations(self, run_ids: Collection[UUID], window: Window) -> dict[UUID, list[IterationRow]]:
        """Of each run's attempts at iterations up to one more than the window; the one under way is the last."""
        all_of_them = all_iterations().subquery()
        columns = all_of_them.c
        rows = await self._session.exec(_each(run_ids, select(all_of_them), columns.run_id, columns.claim_no, window))
        return grouped(run_ids, [(row.run_id, _iteration(row)) for row in rows])


def _each(
    run_ids: Collection[UUID], chosen: Select[Any], run: ColumnElement[UUID], key: ColumnElement[int], window: Window
) -> Select[Any]:
    """The window of what was chosen for each of the runs, by one statement that searches once per run."""
    wanted = each_of(run_ids, run.type)
    # Said once more in constants, these let the planner leave out the partitions of other weeks.
    bounds: list[ColumnElement[bool]] = [run >= min(run_ids), run <= max(run_ids)] if run_ids else []
    part = windowed(chosen.where(run == wanted.c.value, *bounds), [key], window, ascending=True).lateral()
    ends = in_order([part.c[str(key.key)]], window, ascending=True)
    return select(part).select_from(wanted.join(part, true())).order_by(*ends)


def all_iterations() -> Any:
    """The finished attempts, and the one under way as the run's own row describes it."""
    names = ("run_id", "claim_no", "number", "attempt", "worker", "started_at", "finished_at", "outcome", "error")
    finished = select(*(ITERATIONS.c[name] for name in names))
    under_way = select(
        RUNS.c.id.label("run_id"),
        RUNS.c.claim_no,
        RUNS.c.iteration.label("number"),
        RUNS.c.attempt,
        RUNS.c.worker,
        RUNS.c.claimed_at.label("started_at"),
        null().label("finished_at"),
        null().label("outcome"),
        null().label("error"),
    ).where(RUNS.c.status.in_(sorted(status.value for status in HELD)))
    return union_all(finished, under_way)


def log_conditions(filter: LogFilter) -> list[ColumnElement[bool]]:
    """A filter as conditions on the table of log lines."""
    found: list[ColumnElement[bool]] = []
    if filter.levels is not None:
        found.append(any_of(LOGS.c.level, filter.levels, "levels"))
    if filter.iteration is not None:
        found.append(LOGS.c.iteration == filter.iteration)
    if filter.message is not None:
        found += string_condition(LOGS.c.message, filter.message)
    return found


def _line(row: Any) -> TaskLog:
    return detached(TaskLog, {**row._mapping, "level": TaskLogLevel(row.level)})


def _iteration(row: Any) -> IterationRow:
    values: dict[str, Any] = {**row._mapping}
    values["outcome"] = TaskIterationOutcome(row.outcome) if row.outcome else None
    return IterationRow(**values)
