"""``tasks.saved``: the tasks that people own. Every change of one is kept as a revision, in the same transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from app.auth import Principal
from app.db import Database
from app.errors import TriggerRefused
from app.ids import new_id
from app.models import Task
from app.registry import Triggers
from app.service import arguments
from app.service.arguments import MAX_NAME
from app.service.declared import as_declared
from app.service.executing import AS_IT_IS, Overrides, request_for
from app.service.known import KnownDefinitions
from app.service.repeating import repeat
from app.service.requests import Triggered
from app.service.saved_reading import SavedTaskReading, differences, task_uuid
from app.service.saved_writing import TaskChange, keep, kind_of, write_next
from app.service.task_fields import TaskChanges, TaskFields, columns_of, from_columns, names_after
from app.service.triggering import Triggering
from app.settings import Settings
from app.task_errors import TaskConflict, TaskDisabled, TaskNameTaken, TaskNotFound, TaskRevisionNotFound
from app.tasks import Tasks, TaskWrites, fields_of

COPY_ROUNDS = 5
UNKNOWN = "The database is away or in trouble, so it is not known whether the task was changed. Try again."


@as_declared
class SavedTasks(SavedTaskReading):
    """Saved tasks: create, change, duplicate, delete, restore and execute them.

    Every method takes its own transaction; what it returns is committed. One whose reply is lost is repeated, which
    changes nothing a second time.
    """

    def __init__(
        self,
        db: Database,
        settings: Settings,
        definitions: KnownDefinitions,
        triggering: Triggering,
        principal: Principal,
    ) -> None:
        super().__init__(db, settings, principal)
        self._definitions = definitions
        self._triggering = triggering

    async def create(
        self, fields: TaskFields, *, principal: Principal | None = None, allow_private: bool = True
    ) -> Task:
        """Save a new task.

        Args:
            fields: what it is; without an owner it belongs to whoever creates it.
            principal: who creates it; by default the service's own.
            allow_private: whether its definition may be a private one.

        Raises:
            InvalidArgument, TaskDefinitionNotFound, InvalidTaskInput, TaskNameTaken, ServiceUnavailable.

        Example:
            task = await tasks.saved.create(TaskFields(name="Nightly", definition_id="checksum-tree"))
        """
        by = arguments.author(principal or self._principal)
        columns = await self._columns(replace(fields, owner=fields.owner or by), allow_private=allow_private)
        return await self._store(columns, by, TaskChange.CREATED, {})

    async def update(
        self,
        task_id: UUID | str,
        version: int,
        changes: TaskChanges,
        *,
        principal: Principal | None = None,
        allow_private: bool = True,
    ) -> Task:
        """Change a task, unless somebody else has changed it since the version that is named.

        Args:
            task_id: the task.
            version: the version that the change was made for, as it was read.
            changes: what is to be otherwise; when nothing is, the task stays at its version.
            principal: who changes it.
            allow_private: whether its definition may be a private one.

        Raises:
            TaskNotFound, TaskConflict (names the other editor and what was changed), and what ``create`` raises.

        Example:
            task = await tasks.saved.update(task.id, task.version, TaskChanges(is_enabled=False))
        """
        by = arguments.author(principal or self._principal)
        id = task_uuid(task_id)

        seen = await self.get(id)
        if seen.version != version:
            raise await self._conflict(seen, version)
        changed = replace(from_columns(fields_of(seen)), **changes.given())
        columns = await self._columns(changed, allow_private=allow_private)

        async def change(writes: TaskWrites, repeated: bool) -> None:
            task = await _current(writes, id)
            if repeated and _is_next(task, version, by):
                return
            await _require(writes, task, version)
            if columns != fields_of(task):
                await write_next(writes, task, columns, by, kind_of(task, columns))

        await self._commit(change)
        return await self.get(id)

    async def delete(
        self, task_id: UUID | str, *, version: int | None = None, principal: Principal | None = None
    ) -> UUID:
        """Delete a task; its runs and revisions stay. Returns its id.

        Args:
            task_id: the task.
            version: refuse when it is not at this version any more; None deletes it as it stands.
            principal: who deletes it.

        Raises:
            TaskNotFound, TaskConflict, ServiceUnavailable.

        Example:
            await tasks.saved.delete(task.id)
        """
        by = arguments.author(principal or self._principal)
        id = task_uuid(task_id)

        async def remove(writes: TaskWrites, repeated: bool) -> None:
            task = await writes.lock(id)
            if task is None or (task.deleted_at is not None and not repeated):
                raise TaskNotFound(id)
            if task.deleted_at is None:
                await _require(writes, task, version)
                await write_next(writes, task, fields_of(task), by, TaskChange.DELETED)

        await self._commit(remove)
        return id

    async def duplicate(
        self, task_id: UUID | str, *, name: str | None = None, principal: Principal | None = None
    ) -> Task:
        """Save a copy of a task, which belongs to whoever makes it and has no runs.

        Args:
            task_id: the task.
            name: of the copy; by default the name with "(copy)", "(copy 2)" and so on.
            principal: who copies it.

        Raises:
            TaskNotFound, TaskNameTaken (for a name that was given), what ``create`` raises.

        Example:
            other = await tasks.saved.duplicate(task.id)
        """
        by = arguments.author(principal or self._principal)
        task = await self.get(task_id)
        fields = replace(from_columns(fields_of(task)), owner=by)
        source = {"source_task_id": str(task.id), "source_version": task.version}
        for last in range(COPY_ROUNDS, 0, -1):
            columns = await self._columns(replace(fields, name=name or await self._copy_name(task)), allow_private=True)
            try:
                return await self._store(columns, by, TaskChange.DUPLICATED, source)
            except TaskNameTaken:
                # Somebody else has made the same copy at the same moment: theirs has the name.
                if name is not None or last == 1:
                    raise
        raise AssertionError("the last round returns or raises")

    async def restore(
        self,
        task_id: UUID | str,
        revision: int,
        *,
        version: int | None = None,
        principal: Principal | None = None,
    ) -> Task:
        """Make a task again what it was at a revision, as a new revision; a deleted task comes back by it.

        Args:
            task_id: the task.
            revision: the number of the revision.
            version: refuse when the task is not at this version any more; None restores in any case.
            principal: who restores it.

        Raises:
            TaskNotFound, TaskRevisionNotFound, TaskConflict, TaskNameTaken, and what ``create`` raises: an input that
            no longer fits its definition is not restored.

        Example:
            task = await tasks.saved.restore(task.id, 1)
        """
        by = arguments.author(principal or self._principal)
        id = task_uuid(task_id)
        seen = (await self.find([id], deleted=True)).get(id)
        if seen is None:
            raise TaskNotFound(id)
        if version not in (None, seen.version):
            raise await self._conflict(seen, version)
        earlier = (await self.revisions_at([(id, revision)])).get((id, revision))
        if earlier is None:
            raise TaskRevisionNotFound(id, revision)
        columns = await self._columns(from_columns(earlier.fields), allow_private=True)

        async def put_back(writes: TaskWrites, repeated: bool) -> None:
            task = await writes.lock(id)
            assert task is not None, "a task's row is never removed"
            if repeated and _is_next(task, seen.version, by):
                return
            await _require(writes, task, version)
            await write_next(writes, task, columns, by, TaskChange.RESTORED, {"source_version": revision})

        await self._commit(put_back)
        return await self.get(id)

    async def execute(
        self,
        task_id: UUID | str,
        overrides: Overrides = AS_IT_IS,
        *,
        force: bool = False,
        principal: Principal | None = None,
    ) -> Triggered:
        """Trigger a run of a task as it stands now; the run names the task and its revision.

        Args:
            task_id: the task.
            overrides: what this run does otherwise than the task says.
            force: also when the task is disabled, or its definition is meant for schedules alone.
            principal: who executes it.

        Raises:
            TaskNotFound, TaskDisabled, CooldownActive, and what ``trigger`` raises: the input is checked again, and a
            definition that is gone is named.

        Example:
            run = (await tasks.saved.execute(task.id, Overrides(input={"depth": 2}))).run
        """
        task = await self.get(task_id)
        if not (task.is_enabled or force):
            raise TaskDisabled(task.id, task.name)
        await self._require_on_demand(task, force=force)
        # Whether a definition may be used was decided when the task was saved.
        request = request_for(task, overrides)
        return await self._triggering.submit(request, principal or self._principal, allow_private=True)

    # Beneath.

    async def _require_on_demand(self, task: Task, *, force: bool) -> None:
        known = (await self._definitions.find([task.definition_id])).get(task.definition_id)
        if known is not None and known.triggers is Triggers.SCHEDULED and not force:
            raise not_on_demand(known.id)

    async def _columns(self, fields: TaskFields, *, allow_private: bool) -> dict[str, Any]:
        limit = self._settings.max_input_bytes
        return await columns_of(fields, self._definitions, limit, allow_private=allow_private)

    async def _store(self, columns: dict[str, Any], by: str, change: TaskChange, source: Mapping[str, Any]) -> Task:
        id = new_id()

        async def insert(writes: TaskWrites, repeated: bool) -> None:
            if await writes.insert(id, columns, by):
                await keep(writes, id, 1, by, change, columns, source)
            elif not (repeated and await writes.get_many([id])):
                holder = await writes.named(columns["name"], columns["group_name"])
                raise TaskNameTaken(columns["name"], columns["group_name"], holder)

        await self._commit(insert)
        return await self.get(id)

    async def _copy_name(self, task: Task) -> str:
        async with self._db.read() as session:
            taken = await Tasks(session).names_like(task.name[: MAX_NAME - 12], task.group_name)
        return next(name for name in names_after(task.name, "copy") if name not in taken)

    async def _conflict(self, task: Task, version: int) -> TaskConflict:
        async with self._db.read() as session:
            return await _conflict(Tasks(session), task, version)

    async def _commit(self, work: Callable[[TaskWrites, bool], Awaitable[None]]) -> None:
        """Do work in a transaction; again, told so, while the connection is lost over it."""

        async def write(repeated: bool) -> None:
            async with self._db.write() as session:
                await work(TaskWrites(session), repeated)

        await repeat(write, UNKNOWN)


def not_on_demand(definition_id: str) -> TriggerRefused:
    """The refusal to execute by hand what is meant for schedules."""
    return TriggerRefused(
        f"'{definition_id}' is declared for schedules alone. Make a schedule for the task, or execute it all the same "
        "with force: true.",
        path=("input", "id"),
    )


async def _current(writes: TaskWrites, task_id: UUID) -> Task:
    """A task that is there, locked. Raises ``TaskNotFound``."""
    task = await writes.lock(task_id)
    if task is None or task.deleted_at is not None:
        raise TaskNotFound(task_id)
    return task


async def _require(writes: TaskWrites, task: Task, version: int | None) -> None:
    """Raise ``TaskConflict`` when a task, which is locked, is not at a version any more."""
    if version not in (None, task.version):
        raise await _conflict(writes, task, version)


async def _conflict(reads: Tasks, task: Task, version: int) -> TaskConflict:
    """The refusal that names who has changed a task since a version, and what is different now."""
    seen = await reads.revision(task.id, version)
    changed = differences(seen.fields, fields_of(task)) if seen else []
    return TaskConflict(task.version, task.updated_by, task.updated_at, [change.field for change in changed])


def _is_next(task: Task, version: int, by: str) -> bool:
    """Whether a change of our own, whose reply was lost, has most likely made the version after this one."""
    return task.version == version + 1 and task.updated_by == by
