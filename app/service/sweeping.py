"""Applying the rules of retention: steps of a sweep, each in a short transaction, and a report of what is to go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from app.db import Pipe, Row
from app.history import History
from app.partitions import Partitions
from app.retention import DEFAULT, FIRST, Retention, Rules

REPORT_LOOKS = 10_000
"""How many runs, and how many iterations, a report looks at."""


class Phase(StrEnum):
    """What a sweep is at: it drops SPANS of details as a whole, removes RUNS, then DETAILS of single runs that stay."""

    SPANS = "SPANS"
    RUNS = "RUNS"
    DETAILS = "DETAILS"


@dataclass(frozen=True, slots=True)
class SweepPosition:
    """How far a sweep has come: the last run that was looked at, and while runs are removed, of which definition.

    The definition is ``*`` where runs of all are removed in one walk.
    The numbers are of the runs in the span that is being looked through, all of which may lose their details.
    """

    phase: Phase = Phase.SPANS
    run_id: UUID = FIRST
    definition_id: str = ""
    stripped: int = 0
    logs: int = 0
    iterations: int = 0


START = SweepPosition()


@dataclass(frozen=True, slots=True)
class SweepStep:
    """What one step of a sweep removed, or would: whole runs, and log lines and iterations of ``stripped`` others.

    ``spans`` counts the partitions, of a week each, that were dropped as a whole.

    ``position`` is for the next step; None when the sweep has come to its end.
    """

    position: SweepPosition | None
    stripped: int = 0
    logs: int = 0
    iterations: int = 0
    runs: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    spans: int = 0


@dataclass(slots=True)
class Removable:
    """What the rules let go of one definition: runs, details of ``stripped`` others, and the lines of all of these."""

    definition_id: str
    stripped: int = 0
    logs: int = 0
    runs: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """What a sweep would remove now, as far as the report looked; bytes are estimated from average rows.

    Unless ``is_complete``, every number is a lower bound: a dry run of ``purge-history`` counts all of it.
    """

    definitions: list[Removable]
    is_complete: bool


class Sweep:
    """One step of a sweep, in its transaction."""

    def __init__(self, pipe: Pipe, now: datetime, limit: int, dry_run: bool) -> None:
        self._retention = Retention(pipe)
        self._history = History(pipe)
        self._now = now
        self._limit = limit
        self._dry_run = dry_run
        self._partitions = Partitions(pipe)

    async def step(self, after: SweepPosition) -> SweepStep:
        """The step from a position on."""
        if after.phase == Phase.SPANS:
            return await self.spans(after)
        return await (self.details(after) if after.phase == Phase.DETAILS else self.runs(after))

    async def spans(self, after: SweepPosition) -> SweepStep:
        """Look on through the first partition that is old as a whole; drop it when nothing in it is to be kept."""
        rules = await self._retention.rules()
        end = rules.spans_end(self._now)
        old = [span for span in await self._partitions.spans() if after.run_id < span.high <= end]
        # A dry run counts what would be dropped with runs and the details of single runs.
        if self._dry_run or not old:
            return SweepStep(SweepPosition(Phase.RUNS))
        first = max(after.run_id, UUID(int=max(0, old[0].low.int - 1)))
        rows = await self._retention.judge_details(rules, self._now, first, self._limit, old[0].high)
        if not all(row["fits"] for row in rows):
            return SweepStep(SweepPosition(run_id=old[0].high))
        if rows:
            return SweepStep(_seen(after, rows))
        if not await self._partitions.drop(old[0]):
            return SweepStep(SweepPosition(run_id=old[0].high))
        numbers = (after.stripped, after.logs, after.iterations)
        return SweepStep(SweepPosition(run_id=old[0].high), *numbers, spans=1)

    async def details(self, after: SweepPosition) -> SweepStep:
        """Logs and iterations of the next runs that still have some, and stay themselves."""
        rules = await self._retention.rules()
        rows = await self._retention.judge_details(rules, self._now, after.run_id, self._limit)
        if not rows:
            return SweepStep(None)
        # Those that go themselves are gone by now, but in a dry run.
        ids = [row["id"] for row in await self._chosen(rows) if not row["goes"]]
        logs, iterations = await (
            self._history.count_details(ids) if self._dry_run else self._history.delete_details(ids)
        )
        return SweepStep(SweepPosition(Phase.DETAILS, rows[-1]["id"]), len(ids), logs, iterations)

    async def runs(self, after: SweepPosition) -> SweepStep:
        """The next runs: of all definitions while their rules are alike, which is the order in which rows lie on disk.

        Otherwise definition by definition, so that those which are kept for longer are not walked through every day.
        """
        definition_id, rows = await self._next_runs(await self._retention.rules(), after)
        if not rows:
            return SweepStep(SweepPosition(Phase.DETAILS))
        chosen = await self._chosen(rows)
        remove = self._history.count_details if self._dry_run else self._history.delete
        logs, iterations = await remove([row["id"] for row in chosen]) if chosen else (0, 0)
        finished = [row["finished_at"] for row in chosen]
        return SweepStep(
            SweepPosition(Phase.RUNS, rows[-1]["id"], definition_id),
            logs=logs,
            iterations=iterations,
            runs=len(chosen),
            oldest=min(finished, default=None),
            newest=max(finished, default=None),
        )

    async def _next_runs(self, rules: Rules, after: SweepPosition) -> tuple[str, list[Row]]:
        """The next runs, and their definition, or ``DEFAULT`` where it is those of all; no runs at the end."""
        is_begun = after.definition_id not in ("", DEFAULT)
        if rules.runs_are_kept_alike and not is_begun:
            return DEFAULT, await self._judge(rules, DEFAULT, after.run_id)
        if is_begun and (rows := await self._judge(rules, after.definition_id, after.run_id)):
            return after.definition_id, rows
        definition_id = after.definition_id
        while (definition_id := await self._retention.next_definition(definition_id)) is not None:
            if rows := await self._judge(rules, definition_id, FIRST):
                return definition_id, rows
        return DEFAULT, []

    async def _judge(self, rules: Rules, definition_id: str, after: UUID) -> list[Row]:
        return await self._retention.judge_runs(rules, self._now, definition_id, after, self._limit)

    async def _chosen(self, rows: list[Row]) -> list[Row]:
        """The rows that fit; what somebody else has locked, as another sweep, is left to them."""
        chosen = [row for row in rows if row["fits"]]
        if self._dry_run or not chosen:
            return chosen
        locked = {row["id"] for row in await self._history.lock([row["id"] for row in chosen])}
        return [row for row in chosen if row["id"] in locked]


def _seen(after: SweepPosition, rows: list[Row]) -> SweepPosition:
    return SweepPosition(
        run_id=rows[-1]["id"],
        stripped=after.stripped + len(rows),
        logs=after.logs + sum(row["log_count"] for row in rows),
        iterations=after.iterations + sum(row["iterations"] for row in rows),
    )


async def report(retention: Retention, now: datetime) -> RetentionReport:
    """What a sweep would remove, as far as ``REPORT_LOOKS`` reach."""
    rules = await retention.rules()
    found: dict[str, Removable] = {}
    has_all_details = await _report_details(retention, rules, now, found)
    has_all_runs = await _report_runs(retention, rules, now, found)
    return RetentionReport([found[id] for id in sorted(found)], has_all_details and has_all_runs)


async def _report_details(retention: Retention, rules: Rules, now: datetime, found: dict[str, Removable]) -> bool:
    """Add up the logs and iterations that would go; returns whether these are all."""
    line = await retention.bytes_a_row("task_logs")
    rows = await retention.judge_details(rules, now, FIRST, REPORT_LOOKS)
    for row in rows:
        if row["fits"]:
            each = found.setdefault(row["definition_id"], Removable(row["definition_id"]))
            each.stripped += not row["goes"]
            each.logs += row["log_count"]
            each.bytes += round(row["log_count"] * line)
    return not await retention.judge_details(rules, now, rows[-1]["id"] if rows else FIRST, 1)


async def _report_runs(retention: Retention, rules: Rules, now: datetime, found: dict[str, Removable]) -> bool:
    """Add up the runs that would go; returns whether these are all."""
    size = await retention.bytes_a_row("task_runs")
    left, definition_id = REPORT_LOOKS, await retention.next_definition("")
    while definition_id is not None and left > 0:
        rows = await retention.judge_runs(rules, now, definition_id, FIRST, left)
        left -= len(rows)
        if gone := sum(row["fits"] for row in rows):
            each = found.setdefault(definition_id, Removable(definition_id))
            each.runs += gone
            each.bytes += round(gone * size)
        definition_id = await retention.next_definition(definition_id)
    return left > 0
