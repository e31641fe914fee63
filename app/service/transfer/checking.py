"""A document of tasks, checked as a whole and task by task: every problem is told with its place, none twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from pydantic import ValidationError

from app import ticks
from app.auth import may_act
from app.errors import ErrorCode, InvalidArgument, InvalidTaskInput, ServiceUnavailable, TaskError
from app.ids import new_id
from app.interchange import unreadable
from app.models import PauseReason, ScheduleStatus
from app.schedules import columns_of as timing_columns
from app.service import arguments, schedule_fields
from app.service.known import KnownDefinitions
from app.service.task_fields import check_owner, columns_of
from app.service.transfer.entries import VERSION, ScheduleEntry, TaskEntry
from app.service.transfer.planning import ImportProblem, Prepared

A_BREATH = 50
"""After so many tasks, others on the event loop go first."""
Path = tuple[str, ...]


def tasks_of(document: Any, limit: int) -> list[Any]:
    """The tasks that a document holds, unchecked. Raises ``InvalidArgument`` for what is no document of tasks."""
    if not isinstance(document, dict) or "version" not in document or "tasks" not in document:
        raise unreadable(f"The text is no export of tasks: it must have 'version: {VERSION}' and 'tasks'.")
    members = cast("dict[str, Any]", document)
    if repr(version := members["version"]) != str(VERSION):
        raise unreadable(f"The text has version {str(version)[:20]}, but this server reads {VERSION}.")
    if others := sorted(members.keys() - {"version", "tasks"}):
        raise unreadable(f"The text has '{others[0][:100]}' beside 'version' and 'tasks', which nobody knows.")
    if not isinstance(members["tasks"], list):
        raise unreadable("'tasks' must be a list.")
    found = cast("list[Any]", members["tasks"])
    if len(found) > limit:
        raise unreadable(
            f"'tasks' has {len(found)} items, but at most {limit} are allowed (TASKLOOM_MAX_BULK_ITEMS). "
            "Import in parts, as one group at a time."
        )
    return found


class Checking:
    """Checks the tasks of a document, as one principal imports them at one time."""

    def __init__(
        self,
        known: KnownDefinitions,
        max_input_bytes: int,
        by: str,
        now: datetime,
        *,
        allow_private: bool,
        pause_schedules: bool,
    ) -> None:
        self._known = known
        self._max_input_bytes = max_input_bytes
        self._by = by
        self._now = now
        self._allow_private = allow_private
        self._pause = pause_schedules

    async def check(self, tasks: Sequence[Any]) -> list[Prepared]:
        """Each task with its columns, or with its problems. Raises ``ServiceUnavailable``."""
        found: list[Prepared] = []
        seen: dict[tuple[str, str], int] = {}
        for index, raw in enumerate(tasks):
            if index % A_BREATH == 0:
                await asyncio.sleep(0)
            one = await self._task(index, raw)
            if one.name is not None and (first := seen.setdefault(one.key, index)) != index:
                message = f"'{one.name}' is the name of task {first} in the same group already."
                one.problems.append(_problem(_place(index, "name"), ErrorCode.TASK_NAME_TAKEN, message))
            found.append(one)
        return found

    async def _task(self, index: int, raw: Any) -> Prepared:
        one = Prepared(index, *_named(raw))
        try:
            entry = TaskEntry.model_validate(raw)
        except ValidationError as error:
            one.problems += [_misshapen(_place(index), line) for line in error.errors(include_input=False)]
            return one
        with _Noting(one, _place(index)):
            fields = entry.fields(self._by)
            check_owner(fields.owner or "")
            if objection := may_act(fields.owner or ""):
                one.problems.append(_problem(_place(index, "owner"), ErrorCode.BAD_USER_INPUT, objection))
            one.columns = await columns_of(
                fields, self._known, self._max_input_bytes, allow_private=self._allow_private
            )
        for number, schedule in enumerate(entry.schedules):
            place = _place(index, "schedules", str(number))
            with _Noting(one, place):
                one.schedules.append(await self._schedule(one, entry.definition_id, schedule, place))
        return one

    async def _schedule(self, one: Prepared, definition_id: str, entry: ScheduleEntry, place: Path) -> dict[str, Any]:
        if definition_id in await self._known.find([definition_id]):
            await schedule_fields.check_use(self._known, definition_id, entry.input, self._max_input_bytes)
        if entry.pause_message is not None:
            arguments.text(entry.pause_message, "pauseMessage", arguments.MAX_MESSAGE)
            if not entry.paused:
                raise InvalidArgument("'pauseMessage' goes with 'paused: true'.", path=("input", "pauseMessage"))
        timing = entry.timing()
        ticks.check_form(timing)
        own = {
            "name": entry.name, "overlap": entry.overlap, "catch_up": entry.catch_up, "input": entry.input,
            "catch_up_window": entry.catch_up_seconds, "max_failures": entry.max_failures,
            "owner": entry.owner or self._by,
        }  # fmt: skip
        checked = schedule_fields.checked(own)
        id = new_id()
        return {"id": id, **timing_columns(timing), **checked, **self._standing(one, id, timing, entry, place)}

    def _standing(
        self, one: Prepared, id: UUID, timing: ticks.Timing, entry: ScheduleEntry, place: Path
    ) -> dict[str, Any]:
        """The columns that say whether a schedule ticks, and when next: it ticks from now on."""
        idle = {"pause_reason": None, "pause_message": None, "next_tick_at": None, "next_due_at": None}
        if entry.paused or self._pause:
            why = {"pause_reason": PauseReason.REQUESTED, "pause_message": entry.pause_message}
            return {**idle, "status": ScheduleStatus.PAUSED, **why}
        tick = timing.next(self._now)
        if tick is None:
            one.notes.append(f"{'.'.join(place)} has no tick left, so it is stored as one that has ended.")
            return {**idle, "status": ScheduleStatus.ENDED}
        following = {"next_tick_at": tick, "next_due_at": timing.due_at(id, tick)}
        return {**idle, "status": ScheduleStatus.ACTIVE, **following}


class _Noting:
    """Turns a refusal into problems of a task; an unreachable database stays one."""

    def __init__(self, one: Prepared, place: Path) -> None:
        self._one = one
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        if not isinstance(error, TaskError) or isinstance(error, ServiceUnavailable):
            return False
        self._one.problems += _problems(error, self._place)
        return True


def _problems(error: TaskError, place: Path) -> list[ImportProblem]:
    if isinstance(error, InvalidTaskInput):
        return [_problem((*place, "input", *issue.path), error.code, issue.message) for issue in error.issues]
    # A schedule says at once what createSchedule has below "timing", and its task stands around it.
    path = tuple(part for part in (error.path or ("",))[1:] if part not in ("timing", "taskId"))
    return [_problem((*place, *path), error.code, error.message)]


def _misshapen(place: Path, line: Any) -> ImportProblem:
    message = str(line["msg"]).removeprefix("Value error, ")
    path = (*place, *(str(part) for part in line["loc"]))
    return _problem(path, ErrorCode.BAD_USER_INPUT, f"'{path[-1][:100]}': {message}.")


def _named(raw: Any) -> tuple[str | None, str | None]:
    """Name and group as far as they are texts that can be stored, for a task that may be wrong in any way."""
    members = cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}
    texts = {
        key: value for key in ("name", "group") if isinstance(value := members.get(key), str) and "\0" not in value
    }
    return texts.get("name"), texts.get("group")


def _place(index: int, *below: str) -> Path:
    return ("tasks", str(index), *below)


def _problem(path: Path, code: ErrorCode, message: str) -> ImportProblem:
    return ImportProblem(path, code.value, message)
