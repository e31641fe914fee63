"""Schedules as clients make, change, pause and read them; ``app.service.ticking`` does what they are due for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app import audit, ticks
from app.audit import Deed
from app.auth import Principal, may_act
from app.db import Database, WriteSession
from app.errors import InvalidArgument, ScheduleConflict, ScheduleNotFound, TriggerRefused
from app.ids import new_id
from app.models import CatchUpPolicy, OverlapPolicy, PauseReason, Schedule, ScheduleStatus, TaskRun
from app.schedules import Schedules, columns_of, timing_of
from app.service import arguments, schedule_fields
from app.service.declared import as_declared
from app.service.executing import request_for
from app.service.known import KnownDefinitions
from app.service.requests import UNSET, Duration, Unset
from app.service.saved_reading import SavedTaskReading
from app.service.schedule_fields import MAX_PER_TASK, TASK
from app.service.schedule_reading import ScheduleReading, schedule_id
from app.service.ticking import own_input
from app.service.triggering import Triggering
from app.settings import Settings
from app.task_errors import TaskNotFound
from app.ticks import Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleChanges:
    """What to change of a schedule; what is left ``UNSET`` stays as it is.

    ``timing`` names fields of ``Timing`` with new values; one of ``cron``, ``every`` and ``at`` replaces the others.
    """

    timing: Mapping[str, Any] | Unset = UNSET
    name: str | Unset | None = UNSET
    overlap: OverlapPolicy | Unset = UNSET
    catch_up: CatchUpPolicy | Unset = UNSET
    catch_up_window: Duration | Unset = UNSET
    max_failures: int | Unset | None = UNSET
    input: Any = UNSET
    owner: str | Unset = UNSET


@as_declared
class Scheduling(ScheduleReading):
    """What a client may ask about schedules: ``tasks.schedules``. Every method takes its own transaction.

    All may raise ``ServiceUnavailable``. Those that change something take ``principal``, who asks (by default the
    service's own), and write it down in the audit.
    """

    def __init__(
        self,
        db: Database,
        settings: Settings,
        known: KnownDefinitions,
        saved: SavedTaskReading,
        triggering: Triggering,
        principal: Principal,
    ) -> None:
        super().__init__(db, settings)
        self._known = known
        self._saved = saved
        self._triggering = triggering
        self._principal = principal

    # Making and changing.

    async def create(
        self,
        task_id: UUID | str,
        timing: Timing,
        *,
        name: str | None = None,
        overlap: OverlapPolicy = OverlapPolicy.SKIP,
        catch_up: CatchUpPolicy = CatchUpPolicy.LAST,
        catch_up_window: Duration = timedelta(days=1),
        max_failures: int | None = None,
        input: Any = None,
        owner: str | None = None,
        principal: Principal | None = None,
    ) -> Schedule:
        """Schedule a saved task; its first tick is the first one after now.

        Args:
            task_id: the saved task.
            timing: when it ticks.
            name: what people call it, 1 to 200 characters.
            overlap: what a tick does while an earlier run of the schedule is live.
            catch_up: what becomes of ticks that no worker was there for.
            catch_up_window: how late a tick may still run (``timedelta`` or seconds), up to 366 days.
            max_failures: pause after so many failures in a row, 1 to 1000; None is never.
            input: instead of the task's input; None leaves it.
            owner: in whose name its runs act, as in ``"USER:ada"``; by default who asks.
            principal: who asks.

        Raises:
            TaskNotFound, InvalidArgument, InvalidTaskInput, TaskDefinitionNotFound, ServiceUnavailable.

        Example:
            nightly = await tasks.schedules.create(task.id, Timing(cron="0 3 * * *", time_zone="Europe/Berlin"))
        """
        by = arguments.author(principal or self._principal)
        values = {
            "name": name, "overlap": overlap, "catch_up": catch_up, "catch_up_window": catch_up_window,
            "max_failures": max_failures, "input": input, "owner": owner or by,
        }  # fmt: skip
        checked = schedule_fields.checked(values)
        try:
            task = await self._saved.get(task_id)
        except TaskNotFound:
            raise TaskNotFound(task_id, path=TASK) from None
        await self._check(task.definition_id, input)
        async with self._db.write() as session:
            schedules = Schedules(session)
            if await schedules.task(task.id, lock=True) is None:
                raise TaskNotFound(task_id, path=TASK)
            if len((await schedules.of_tasks([task.id]))[task.id]) >= MAX_PER_TASK:
                raise InvalidArgument(f"The task has {MAX_PER_TASK} schedules, which is the most.", path=TASK)
            id, now = new_id(), await schedules.now()
            following = _following(id, timing, now)
            who = {"created_by": by, "updated_by": by}
            made = await schedules.insert(
                {"id": id, "task_id": task.id, "status": "ACTIVE", **columns_of(timing), **checked, **following, **who}
            )
            await _note(session, by, "createSchedule", made)
        return made

    async def update(
        self, id: UUID | str, version: int, changes: ScheduleChanges, *, principal: Principal | None = None
    ) -> Schedule:
        """Change a schedule that still has the version that was read.

        Where its timing changes, its next tick is the first one after now by the new timing.

        Raises:
            ScheduleNotFound, ScheduleConflict (somebody changed it meanwhile), InvalidArgument, InvalidTaskInput,
            TaskDefinitionNotFound, ServiceUnavailable.

        Example:
            await tasks.schedules.update(s.id, s.version, ScheduleChanges(timing={"cron": "@daily"}))
        """
        by = arguments.author(principal or self._principal)
        given = {name: getattr(changes, name) for name in changes.__dataclass_fields__}
        values = {key: value for key, value in given.items() if value is not UNSET and key != "timing"}
        checked = schedule_fields.checked(values)
        if changes.input is not UNSET and changes.input is not None:
            task = await self._saved.get((await self.get(id)).task_id)
            await self._check(task.definition_id, changes.input)
        async with self._db.write() as session:
            schedules = Schedules(session)
            schedule = await _locked(schedules, id)
            if schedule.version != version:
                raise ScheduleConflict(schedule.id, version, schedule.version, schedule.updated_by)
            if changes.timing is not UNSET:
                timing = _retimed(timing_of(schedule), changes.timing)
                checked |= _resumed(schedule, timing, await schedules.now()) | columns_of(timing)
            changed = await schedules.change(schedule.id, by, {**checked, "version": version + 1})
            await _note(session, by, "updateSchedule", changed)
        return changed

    async def delete(self, id: UUID | str, *, principal: Principal | None = None) -> Schedule:
        """Delete a schedule; its runs stay. Raises ``ScheduleNotFound``.

        Example:
            await tasks.schedules.delete(schedule.id)
        """
        by = arguments.author(principal or self._principal)
        async with self._db.write() as session:
            schedules = Schedules(session)
            schedule = await _locked(schedules, id)
            await schedules.drop_waiting(schedule.id, "The schedule was deleted while the tick waited.")
            now = await schedules.now()
            ends = {"deleted_at": now, "next_tick_at": None, "next_due_at": None}
            gone = await schedules.change(schedule.id, by, ends)
            await _note(session, by, "deleteSchedule", gone)
        return gone

    async def pause(
        self, id: UUID | str, *, message: str | None = None, principal: Principal | None = None
    ) -> Schedule:
        """Pause a schedule: no tick is looked at, and none of that time is caught up. Pausing again changes nothing.

        Raises ``ScheduleNotFound``, and ``InvalidArgument`` for one that has ended.

        Example:
            await tasks.schedules.pause(schedule.id, message="Until the migration is done")
        """
        if message is not None:
            arguments.text(message, "message", arguments.MAX_MESSAGE)
        by = arguments.author(principal or self._principal)
        async with self._db.write() as session:
            schedules = Schedules(session)
            schedule = await _locked(schedules, id)
            if schedule.status == ScheduleStatus.PAUSED:
                return schedule
            if schedule.status == ScheduleStatus.ENDED:
                raise InvalidArgument("The schedule has ended, so there is nothing to pause.", path=("input", "id"))
            await schedules.drop_waiting(schedule.id, "The schedule was paused while the tick waited.")
            stopped = {"status": "PAUSED", "next_tick_at": None, "next_due_at": None}
            why = {"pause_reason": PauseReason.REQUESTED.value, "pause_message": message}
            paused = await schedules.change(schedule.id, by, {**stopped, **why})
            await _note(session, by, "pauseSchedule", paused)
        return paused

    async def resume(self, id: UUID | str, *, principal: Principal | None = None) -> Schedule:
        """Let a paused schedule go on with its first tick after now; failures before now no longer count.

        Raises ``ScheduleNotFound``, and ``InvalidArgument`` when no tick is left. An active one stays as it is.

        Example:
            await tasks.schedules.resume(schedule.id)
        """
        by = arguments.author(principal or self._principal)
        async with self._db.write() as session:
            schedules = Schedules(session)
            schedule = await _locked(schedules, id)
            if schedule.status == ScheduleStatus.ACTIVE:
                return schedule
            now = await schedules.now()
            following = _following(schedule.id, timing_of(schedule), now)
            again = {"status": "ACTIVE", "pause_reason": None, "pause_message": None, "active_since": now}
            resumed = await schedules.change(schedule.id, by, {**again, **following})
            await _note(session, by, "resumeSchedule", resumed)
        return resumed

    async def trigger(
        self, id: UUID | str, *, idempotency_key: str | None = None, principal: Principal | None = None
    ) -> TaskRun:
        """Run a schedule's task now, beside its ticks, whatever its status and its overlap policy.

        The run acts on behalf of the schedule's owner. With ``idempotency_key`` it can be repeated safely.

        Raises:
            ScheduleNotFound, TaskNotFound, TriggerRefused (the task is disabled, or the owner may not act any more),
            and what ``trigger`` raises.

        Example:
            run = await tasks.schedules.trigger(schedule.id)
        """
        by = principal or self._principal
        schedule = await self.get(id)
        task = await self._saved.get(schedule.task_id)
        objection = may_act(schedule.owner) if task.is_enabled else "The task is disabled."
        if objection is not None:
            raise TriggerRefused(objection)
        request = request_for(
            task, own_input(schedule.input, idempotency_key), schedule_id=schedule.id, on_behalf_of=schedule.owner
        )
        triggered = await self._triggering.submit(request, by, allow_private=True)
        return triggered.run

    # Beneath.

    async def _check(self, definition_id: str, value: Any) -> None:
        await schedule_fields.check_use(self._known, definition_id, value, self._settings.max_input_bytes)


async def _note(session: WriteSession, by: str, action: str, schedule: Schedule) -> None:
    details = {"task": str(schedule.task_id), "status": str(schedule.status), "version": schedule.version}
    deed = Deed(principal=by, action=action, subject_kind="schedule", subject_id=schedule.id, details=details)
    await audit.record_in(session, deed)


async def _locked(schedules: Schedules, id: UUID | str) -> Schedule:
    schedule = await schedules.lock(schedule_id(id))
    if schedule is None:
        raise ScheduleNotFound(id)
    return schedule


def _following(id: UUID, timing: Timing, now: datetime) -> dict[str, datetime]:
    """The columns of the first tick after now. Raises ``InvalidArgument`` when there is none."""
    first = ticks.check(timing, now)
    return {"next_tick_at": first, "next_due_at": timing.due_at(id, first)}


def _retimed(timing: Timing, given: Mapping[str, Any]) -> Timing:
    """The timing with the given fields; a new one of the three kinds takes the place of the old."""
    if unknown := given.keys() - Timing.__dataclass_fields__.keys():
        named, fields = ", ".join(sorted(map(str, unknown))), ", ".join(Timing.__dataclass_fields__)
        raise arguments.refusal("timing", f"'timing' names {named}, but a timing has only {fields}.")
    kinds = {"cron": None, "every": None, "at": None, "anchor": None}
    return replace(timing, **{**(kinds if given.keys() & {"cron", "every", "at"} else {}), **given})


def _resumed(schedule: Schedule, timing: Timing, now: datetime) -> dict[str, Any]:
    """What follows from a new timing: an active schedule goes on by it, and so does one that had ended."""
    following = _following(schedule.id, timing, now)
    return {} if schedule.status == ScheduleStatus.PAUSED else {"status": "ACTIVE", **following}
