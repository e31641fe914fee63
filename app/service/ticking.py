"""Ticks: each makes exactly one run or one line that says why not, however many schedulers look at once.

A schedule is looked at without a lock; what was decided is written in one transaction that first moves the schedule on
from where it stood (``take``). Who comes second moves nothing and writes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from app import due_schedules, metrics, runs
from app.auth import Principal, PrincipalKind, may_act
from app.db import Database, Pipe, Row, is_disconnect
from app.doorbell import Doorbell
from app.due_schedules import Onward, TickLine
from app.errors import ServiceUnavailable, TaskError, TriggerRefused
from app.events import Events
from app.models import CatchUpPolicy, OverlapPolicy, ScheduleStatus, Task, TickOutcome, TickReason
from app.rows import detached
from app.schedules import timing_of
from app.service.admitting import Admitted, admit, is_admitted
from app.service.backpressure import Backpressure
from app.service.executing import Overrides, request_for
from app.service.preparing import NewRun, Preparing
from app.service.requests import UNSET, TriggerRequest
from app.service.stopping import abort_family, tell_aborted
from app.tick_decisions import Decision, Standing, decide, decide_waiting

logger = logging.getLogger("taskloom.schedules")

BATCH = 100
AT_ONCE = 2
"""Schedules that are worked for at the same time; each takes a connection."""


def own_input(value: Any, idempotency_key: str | None = None) -> Overrides:
    """A schedule's own input, which takes the place of the task's; None leaves that."""
    return Overrides(input=UNSET if value is None else value, replace_input=True, idempotency_key=idempotency_key)


@dataclass(slots=True)
class Committed:
    """What a tick's transaction did, to be told after it."""

    run: NewRun | None = None
    aborted: list[Row] = field(default_factory=list[Row])


class _NotAdmitted(Exception):
    """A limit or a cooldown lets the run of a tick not in, which only the transaction finds out."""

    def __init__(self, refusal: TaskError) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Ticking:
    """Does what schedules are due for. Any number may run at once, in any processes.

    ``may_act`` is asked before every tick about the principal that its run acts on behalf of.
    """

    def __init__(
        self,
        db: Database,
        doorbell: Doorbell,
        events: Events,
        preparing: Preparing,
        backpressure: Backpressure,
        may_act: Callable[[str], str | None] = may_act,
    ) -> None:
        self._db = db
        self._doorbell = doorbell
        self._events = events
        self._preparing = preparing
        self._backpressure = backpressure
        self._may_act = may_act

    async def run_once(self) -> bool:
        """Work for one batch of due schedules and of waiting ticks. Returns whether there may be more at once."""
        async with self._db.autocommit() as pipe:
            due = await due_schedules.due(pipe, BATCH)
            waiting = await due_schedules.waiting(pipe, BATCH)
        # In an order of its own, so that two schedulers seldom work for the same one at once.
        random.shuffle(due)
        done = [*await self._each(due, self._tick), *await self._each(waiting, self._end_waiting)]
        return any(done)

    async def _each(self, rows: Sequence[Row], act: Callable[[Row], Any]) -> list[bool]:
        """Act on each row; one that cannot be worked for holds up none of the others."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(row: Row) -> bool:
            async with turns:
                try:
                    return await act(row)
                except Exception as error:
                    if is_disconnect(error) or isinstance(error, ServiceUnavailable):
                        logger.warning("Schedule %s has to wait: %s", row["id"], error)
                    else:
                        logger.exception("Schedule %s could not be worked for at %s.", row["id"], row["tick_at"])
                    return False

        return await asyncio.gather(*map(one, rows))

    async def _tick(self, row: Row) -> bool:
        decision = decide(_standing(row, self._may_act(row["owner"])))
        return await self._carry_out(row, decision, _onward(row, decision))

    async def _end_waiting(self, row: Row) -> bool:
        decision = decide_waiting(_standing(row, self._may_act(row["owner"])))
        return await self._carry_out(row, decision, _onward_after_waiting(row))

    async def _carry_out(self, row: Row, decision: Decision, onward: Onward) -> bool:
        new: NewRun | None = None
        if decision.outcome is TickOutcome.RAN:
            prepared = await self._prepare(row)
            if isinstance(prepared, TaskError):
                decision = _refused(decision, prepared)
            else:
                new = prepared
        committed = await self._commit_if_let_in(row, decision, onward, new)
        if committed is None:
            return False
        await self._tell(committed)
        return True

    async def _commit_if_let_in(
        self, row: Row, decision: Decision, onward: Onward, new: NewRun | None
    ) -> Committed | None:
        """``_commit``, without the run where its queue is full."""
        let_in = await self._backpressure.let_in([new] if new else [])
        if new is not None and new.id in let_in.refused:
            decision, new = _refused(decision, let_in.refused[new.id]), None
        stored: list[NewRun] = []
        try:
            try:
                committed = await self._commit(row, decision, onward, new)
            except _NotAdmitted as late:
                committed = await self._commit(row, _refused(decision, late.refusal), onward, None)
            if committed is not None and committed.run is not None:
                stored.append(committed.run)
        finally:
            self._backpressure.settle(let_in, stored)
        return committed

    async def _prepare(self, row: Row) -> NewRun | TaskError:
        """The run of a tick, by the database's clock; the definition's own check sees the schedule's owner."""
        try:
            [run] = await self._preparing.prepare(
                [_request(row)], Principal.parse(row["owner"]), allow_private=True, at=row["now"]
            )
        except TriggerRefused as late:
            return late
        if isinstance(run, ServiceUnavailable):
            raise run
        if isinstance(run, NewRun):
            run.values["created_by"] = _principal(row)
        return run

    async def _commit(self, row: Row, decision: Decision, onward: Onward, new: NewRun | None) -> Committed | None:
        """Move the schedule on and do what was decided; None when somebody else has done so."""
        committed = Committed()
        async with self._db.pipe() as pipe:
            if not await due_schedules.take(pipe, row["id"], row["write_no"], onward):
                return None
            if await due_schedules.is_decided(pipe, row["id"], row["tick_at"]):
                return committed
            if decision.aborts:
                by, message = _principal(row), f"Superseded by the tick at {row['tick_at']}."
                for run_id in await due_schedules.live_runs(pipe, row["id"]):
                    committed.aborted += await abort_family(pipe, run_id, by, message)
            if new is not None:
                admitted = await (admit(pipe, [new]) if is_admitted(new) else _insert(pipe, new))
                committed.aborted += admitted.aborted
                if new.id in admitted.refused:
                    # With all that was aborted for it.
                    raise _NotAdmitted(admitted.refused[new.id])
                committed.run = new
            await due_schedules.record(pipe, _line(row, decision, new.id if new else None))
            if onward.status is ScheduleStatus.PAUSED:
                await due_schedules.drop_waiting(pipe, row["id"])
                await _note_pause(pipe, row, onward)
        return committed

    async def _tell(self, committed: Committed) -> None:
        """After the commit; what is lost here is made up for by the dispatcher and the workers' own looking."""
        await tell_aborted(self._events, committed.aborted)
        if (run := committed.run) is not None:
            metrics.count_each(metrics.TRIGGERED, [(run.known.id,)])
            await self._doorbell.ring([run.ring])
            await self._events.publish([run.id])


def _principal(row: Row) -> str:
    """Who does what a schedule does."""
    return str(Principal(PrincipalKind.SCHEDULE, str(row["id"])))


def _request(row: Row) -> TriggerRequest:
    return request_for(
        _task(row),
        own_input(_parsed(row["input"])),
        schedule_id=row["id"],
        tick_at=row["tick_at"],
        on_behalf_of=row["owner"],
    )


def _task(row: Row) -> Task:
    """What an execution needs to know of the task."""
    same = ("definition_id", "tags", "group_name", "priority", "queue", "timeout_seconds", "max_attempts")
    other = {"id": row["task_id"], "version": row["task_version"], "name": row["task_name"], "owner": row["task_owner"]}
    parsed = {"input": _parsed(row["task_input"]), "retry": _parsed(row["retry"])}
    return detached(Task, {**{name: row[name] for name in same}, **other, **parsed})


def _parsed(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


async def _note_pause(pipe: Pipe, row: Row, onward: Onward) -> None:
    """Write down that a schedule paused itself."""
    # Few workers ever do, and are spared what reads the audit.
    from app import audit

    details = {"task": str(row["task_id"]), "reason": onward.pause_reason, "message": onward.pause_message}
    by = _principal(row)
    deed = audit.Deed(
        principal=by, action="pauseSchedule", subject_kind="schedule", subject_id=row["id"], details=details
    )
    await audit.record(pipe, deed)


async def _insert(pipe: Any, new: NewRun) -> Admitted:
    return Admitted(await runs.insert(pipe, [new.stored()]))


def _standing(row: Row, objection: str | None) -> Standing:
    return Standing(
        schedule_id=row["id"],
        timing=timing_of(row),
        tick=row["tick_at"],
        now=row["now"],
        overlap=OverlapPolicy(row["overlap"]),
        catch_up=CatchUpPolicy(row["catch_up"]),
        window=timedelta(seconds=row["catch_up_seconds"]),
        max_failures=row["max_failures"],
        failures=row["failures"],
        is_running=row["is_running"],
        waiting=row["waiting"],
        has_task=row["has_task"],
        is_enabled=bool(row["is_enabled"]),
        objection=objection,
    )


def _onward(row: Row, decision: Decision) -> Onward:
    """Where the schedule stands after the tick."""
    if decision.pause is not None:
        return Onward(ScheduleStatus.PAUSED, pause_reason=decision.pause, pause_message=decision.message)
    if decision.next is None:
        return Onward(ScheduleStatus.ENDED)
    return Onward(ScheduleStatus.ACTIVE, decision.next, timing_of(row).due_at(row["id"], decision.next))


def _onward_after_waiting(row: Row) -> Onward:
    """As it stood: a tick that waited comes after those that were looked at since."""
    following: datetime | None = row["next_tick_at"]
    due = None if following is None else timing_of(row).due_at(row["id"], following)
    return Onward(ScheduleStatus(row["status"]), following, due)


def _refused(decision: Decision, refusal: TaskError) -> Decision:
    # Nothing is aborted for a run that does not come.
    return replace(
        decision, outcome=TickOutcome.SKIPPED, reason=TickReason.REFUSED, message=refusal.message, aborts=False
    )


def _line(row: Row, decision: Decision, run_id: UUID | None) -> TickLine:
    tick: datetime = row["tick_at"]
    ticks = 1 if decision.last == tick else timing_of(row).count(tick, decision.last)
    return TickLine(row["id"], tick, decision.last, ticks, decision.outcome, decision.reason, decision.message, run_id)
