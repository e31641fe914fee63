"""Retention: for how long finished runs and what they wrote are kept, which are pinned, and what is to go."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic.alias_generators import to_camel

from app import audit
from app.audit import Deed
from app.auth import Principal
from app.counting import counted
from app.db import Database, Pipe, outages_told
from app.errors import InvalidArgument, TaskDefinitionNotFound
from app.kinds import aware, whole
from app.partitions import BUSY, hold_off_drops
from app.records import RecordKind, Records
from app.retention import Retention, Rule
from app.service import arguments, sweeping
from app.service.declared import as_declared
from app.service.known import KnownDefinitions
from app.service.requests import UNSET, Unset
from app.service.sweeping import START, Phase, RetentionReport, Sweep, SweepPosition, SweepStep
from app.settings import Settings

MAX_DAYS = 36_500
MAX_KEPT = 1000
MAX_STEP = 10_000

Days = float | None | Unset


@as_declared
class Retaining:
    """Retention as a client sees it: ``tasks.retention``.

    A rule says how long the logs and iterations of finished runs are kept, how long the runs themselves, and how many
    of the newest are kept in any case. The definition's own rule counts, or else the default. What a live run may look
    at, and pinned runs, are kept whatever the rules say. ``purge-history`` applies the rules.
    """

    def __init__(self, db: Database, settings: Settings, known: KnownDefinitions, principal: Principal) -> None:
        self._db = db
        self._settings = settings
        self._known = known
        self._principal = principal

    # Rules.

    async def rules(self) -> list[Rule]:
        """The rules: the default first, then those of definitions. Raises ``ServiceUnavailable``.

        Example:
            default, *overrides = await tasks.retention.rules()
        """
        async with self._pipe() as pipe:
            return list((await Retention(pipe).rules()).all)

    async def update(
        self,
        definition_id: str | None = None,
        *,
        succeeded_logs_days: Days = UNSET,
        failed_logs_days: Days = UNSET,
        runs_days: Days = UNSET,
        keep_last: int | Unset = UNSET,
        principal: Principal | None = None,
    ) -> Rule:
        """Change the default rule, or a definition's own, which begins as a copy of the default; returns the rule.

        Args:
            definition_id: whose rule; None is the default.
            succeeded_logs_days: how many days after their end SUCCEEDED runs keep logs and iterations.
            failed_logs_days: the same for runs that ended in any other way.
            runs_days: how many days the runs themselves are kept; no less than their logs.
            keep_last: how many of the newest runs of each definition and task are kept in any case, 0 to 1000.
            principal: who asks.

        Days are 0 to 36,500, parts of days included; None keeps for ever. What is not given stays.

        Raises:
            InvalidArgument, TaskDefinitionNotFound, ServiceUnavailable.

        Example:
            await tasks.retention.update("checksum-tree", succeeded_logs_days=1, keep_last=100)
        """
        given = {
            "succeeded_logs_days": succeeded_logs_days,
            "failed_logs_days": failed_logs_days,
            "runs_days": runs_days,
            "keep_last": keep_last,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not UNSET}
        _check_ranges(changes)
        if definition_id is not None and not await self._known.find([definition_id]):
            raise TaskDefinitionNotFound(definition_id)
        async with self._pipe() as pipe:
            retention = Retention(pipe)
            rules = await retention.rules(lock=True)
            inherited = rules.all[0] if definition_id is None else rules.of(definition_id)
            rule = replace(inherited, definition_id=definition_id, **changes)
            _check_order(rule)
            by = arguments.author(principal or self._principal)
            details = {to_camel(name): value for name, value in changes.items()}
            await audit.record(
                pipe, Deed(principal=by, action="updateRetention", details=details, **_about(definition_id))
            )
            return await retention.put(rule, by)

    async def reset(self, definition_id: str | None = None, *, principal: Principal | None = None) -> Rule:
        """Take away a definition's own rule, so that the default counts, or bring the default back to what it was.

        Returns the rule that counts now. Nothing changes where there was no such rule.

        Args:
            definition_id: whose rule; None is the default.
            principal: who asks.

        Raises:
            InvalidArgument, ServiceUnavailable.

        Example:
            await tasks.retention.reset("checksum-tree")
        """
        if definition_id is not None:
            arguments.text(definition_id, "definitionId", 100)
        async with self._pipe() as pipe:
            retention = Retention(pipe)
            if await retention.remove(definition_id):
                by = arguments.author(principal or self._principal)
                await audit.record(pipe, Deed(principal=by, action="resetRetention", **_about(definition_id)))
            return (await retention.rules()).of(definition_id or "")

    # Pins.

    async def pin(self, run_id: UUID | str, *, principal: Principal | None = None) -> UUID:
        """Keep a run with all that belongs to it until it is unpinned: nothing deletes it. Returns its id.

        Any run may be pinned, a live one as well; pinning twice is pinning once. Its children and its parent have pins
        of their own. A run that is not there is found missing by whoever reads it next.

        Raises:
            TaskRunNotFound (for what cannot be an id), ServiceUnavailable.

        Example:
            run = await tasks.get(await tasks.retention.pin(run.id))
        """
        return await self._set_pin(run_id, principal, pinned=True)

    async def unpin(self, run_id: UUID | str, *, principal: Principal | None = None) -> UUID:
        """Let the rules count for a run again. Returns its id. Raises what ``pin`` raises.

        Example:
            await tasks.retention.unpin(run.id)
        """
        return await self._set_pin(run_id, principal, pinned=False)

    async def _set_pin(self, run_id: UUID | str, principal: Principal | None, *, pinned: bool) -> UUID:
        id = arguments.run_id(run_id)
        async with self._pipe() as pipe:
            await hold_off_drops(pipe)
            if await Retention(pipe).pin(id, pinned=pinned):
                action, by = "pinRun" if pinned else "unpinRun", arguments.author(principal or self._principal)
                await audit.record(pipe, Deed(principal=by, action=action, subject_kind="run", subject_id=id))
        return id

    # Applying the rules.

    async def now(self) -> datetime:
        """The time by which history is old: PostgreSQL's, unless its clock seems to be ahead by more than an hour.

        It does when it was put forward while this process lives, or is ahead of this machine's. Then the earlier time
        counts, because what is removed is gone. Raises ``ServiceUnavailable``.

        Example:
            step = await tasks.retention.sweep(await tasks.retention.now(), dry_run=True)
        """
        return await self._db.clock.steady_time()

    async def sweep(
        self, now: datetime, *, after: SweepPosition = START, limit: int = 1000, dry_run: bool = False
    ) -> SweepStep:
        """Apply the rules to the next runs in one short transaction that waits for nobody.

        First come weeks of logs and iterations of which nothing is to be kept, then whole runs, then logs and
        iterations of single runs that stay, each in order of creation. ``purge-history`` does it all.

        Args:
            now: the time by which runs are old, with a timezone.
            after: the ``position`` of the step before.
            limit: how many runs, or iterations, are looked at, 1 to 10,000; a step ends early at 50,000 log lines.
            dry_run: only count.

        Raises:
            InvalidArgument, ServiceUnavailable.

        Example:
            step = await tasks.retention.sweep(await tasks.retention.now(), dry_run=True)
        """
        _check_step(now, limit)
        try:
            async with self._pipe() as pipe:
                return await Sweep(pipe, now, limit, dry_run).step(after)
        except BUSY:
            # Only a drop waits for locks. The week is looked at by the next sweep; its single runs by this one.
            return SweepStep(SweepPosition(Phase.RUNS))

    async def purge_records(self, now: datetime, *, limit: int = 1000, dry_run: bool = False) -> int:
        """Delete some old events of the audit, bulk actions and batches; returns how many, 0 when none is left.

        Events are kept for TASKLOOM_KEEP_AUDIT_DAYS, bulk actions and batches for TASKLOOM_KEEP_BULK_DAYS after their
        end; a batch also until no run of it is live. Any number of processes may do so at once.

        Args:
            now: as of when, with a timezone.
            limit: how many at most, 1 to 10,000; of batches a hundred.
            dry_run: only count, all of them.

        Raises:
            InvalidArgument, ServiceUnavailable.

        Example:
            while await tasks.retention.purge_records(await tasks.retention.now()): ...
        """
        _check_step(now, limit)
        async with self._pipe() as pipe:
            records = Records(pipe)
            ends = {kind: now - timedelta(days=self._kept_days(kind)) for kind in RecordKind}
            if dry_run:
                return sum([await records.count(kind, end) for kind, end in ends.items()])
            for kind, end in ends.items():
                if number := await records.delete(kind, end, limit):
                    return number
            return 0

    def _kept_days(self, kind: RecordKind) -> float:
        is_audit = kind is RecordKind.AUDIT_EVENTS
        return self._settings.keep_audit_days if is_audit else self._settings.keep_bulk_days

    async def report(self) -> RetentionReport:
        """What the rules would remove now, for each definition, without removing anything.

        It looks at 10,000 iterations and 10,000 runs, those that were made first: no scan, however long the history.

        Raises:
            ServiceUnavailable.

        Example:
            for row in (await tasks.retention.report()).definitions:
                print(row.definition_id, row.stripped, row.logs, row.runs, row.bytes)
        """
        now = await self.now()
        async with self._pipe() as pipe:
            return await sweeping.report(Retention(pipe), now)

    @asynccontextmanager
    async def _pipe(self) -> AsyncGenerator[Pipe]:
        unknown = "The database is away or in trouble, so it is not known whether this was done. Try again."
        with outages_told(unknown):
            async with self._db.pipe() as pipe:
                yield pipe


def _check_step(now: datetime, limit: int) -> None:
    whole(limit, "limit", 1, MAX_STEP)
    aware(now, "now")


def _about(definition_id: str | None) -> dict[str, Any]:
    return {"subject_kind": "retention rule", "subject_id": definition_id}


def _check_ranges(changes: dict[str, Any]) -> None:
    if not changes:
        raise InvalidArgument(
            "Nothing is to be changed: give succeededLogsDays, failedLogsDays, runsDays or keepLast.", path=("input",)
        )
    for name, value in changes.items():
        field = to_camel(name)
        if name == "keep_last":
            whole(value, field, 0, MAX_KEPT, ("input", field))
        elif value is not None and not (isinstance(value, (int, float)) and 0 <= value <= MAX_DAYS):
            raise arguments.refusal(field, f"'{field}' must be 0 to {MAX_DAYS} days, or null to keep for ever.")


def _check_order(rule: Rule) -> None:
    """Runs take their logs with them, so that keeping the logs for longer would be an empty promise."""
    for field, days in (("succeededLogsDays", rule.succeeded_logs_days), ("failedLogsDays", rule.failed_logs_days)):
        if rule.runs_days is not None and (days is None or days > rule.runs_days):
            kept = "for ever" if days is None else f"for {counted(days, 'day')}"
            raise arguments.refusal(
                field,
                f"'{field}' would keep logs {kept}, but 'runsDays' removes their runs, and the logs with "
                f"them, after {counted(rule.runs_days, 'day')}. Keep the runs for at least as long as their logs.",
            )
