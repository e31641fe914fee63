"""Export and import as clients ask for them; an import is planned and carried out in one transaction, or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.audit import Deed
from app.auth import Principal
from app.db import Database, is_disconnect, outages_told
from app.errors import ServiceUnavailable
from app.ids import new_id
from app.interchange import TextFormat, read
from app.service import arguments
from app.service.bulk.task_selections import TaskSelection
from app.service.declared import as_declared
from app.service.known import KnownDefinitions
from app.service.repeating import REPEATABLE, RETRY_SECONDS
from app.service.saved import SavedTasks
from app.service.saved_reading import TaskQuestion
from app.service.saved_writing import TaskChange
from app.service.transfer.checking import Checking, tasks_of
from app.service.transfer.exporting import Exported, export
from app.service.transfer.planning import ImportItem, ImportPlan, ImportStep, OnConflict, Prepared, Present, decide
from app.settings import Settings
from app.task_errors import ImportImpossible
from app.transfers import TaskKey, Transfers

logger = logging.getLogger("taskloom.service")

ALL = TaskSelection(question=TaskQuestion(), all=True)
DEED = "importTasks"


class _Overtaken(Exception):
    """Somebody took a name between the plan and its execution: plan again."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, or, unless ``is_done``, would do."""

    plan: ImportPlan
    is_done: bool


@as_declared
class Transfer:
    """Export and import of saved tasks. Both may raise ``ServiceUnavailable``."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        known: KnownDefinitions,
        saved: SavedTasks,
        principal: Principal,
    ) -> None:
        self._db = db
        self._settings = settings
        self._known = known
        self._saved = saved
        self._principal = principal

    async def export_tasks(
        self,
        selection: TaskSelection = ALL,
        form: TextFormat = TextFormat.YAML,
        *,
        principal: Principal | None = None,
    ) -> Exported:
        """Saved tasks with their schedules as a text that ``import_tasks`` reads, here or elsewhere.

        The text holds no ids, runs, versions or times of change, and is the same whenever and wherever it is made of
        the same tasks.

        Args:
            selection: which tasks, up to TASKLOOM_MAX_BULK_ITEMS; all by default.
            form: JSON or YAML.
            principal: who asks; by default the service's own.

        Raises:
            InvalidArgument: more tasks, or a longer text (TASKLOOM_MAX_TRANSFER_BYTES), than are allowed.

        Example:
            text = (await tasks.transfer.export_tasks(form=TextFormat.JSON)).text
        """
        settings = self._settings
        stored = await selection.stored(self._saved, settings.max_bulk_items, settings.max_page_size, principal)
        return await export(self._db, [UUID(id) for id in stored["ids"]], form, settings.max_transfer_bytes)

    async def import_tasks(
        self,
        text: str,
        *,
        form: TextFormat | None = None,
        on_conflict: OnConflict = OnConflict.SKIP,
        pause_schedules: bool = False,
        dry_run: bool = False,
        principal: Principal | None = None,
        allow_private: bool = True,
    ) -> Imported:
        """Save the tasks of an export with their schedules: all of them as the plan says, or none.

        Args:
            text: what ``export_tasks`` has written, or somebody by hand.
            form: JSON or YAML; by default what it looks like.
            on_conflict: what becomes of a task whose name is taken within its group: SKIP leaves the one that there is,
                RENAME saves the new one as "Name (imported)", REPLACE makes the one that there is, by a new revision,
                what the text says, schedules included. What is so already is not touched.
            pause_schedules: store all schedules paused; by default they tick from now on.
            dry_run: only say what would be done, with all problems.
            principal: who imports; owns what the text names no owner of.
            allow_private: whether tasks of private definitions are taken.

        Raises:
            InvalidArgument: the text is no export, or too large.
            ImportImpossible: a task cannot be imported; its ``plan`` says which, and why.

        Example:
            plan = (await tasks.transfer.import_tasks(text, on_conflict=OnConflict.REPLACE, dry_run=True)).plan
        """
        by = arguments.author(principal or self._principal)
        document = await asyncio.to_thread(read, text, form, self._settings.max_transfer_bytes)
        raw = tasks_of(document, self._settings.max_bulk_items)
        async with self._reading() as transfers:
            now = await transfers.now()
        checking = Checking(
            self._known, self._settings.max_input_bytes, by, now,
            allow_private=allow_private, pause_schedules=pause_schedules,
        )  # fmt: skip
        prepared = await checking.check(raw)
        if dry_run:
            async with self._reading() as transfers:
                present = await _present(transfers, prepared, on_conflict)
            return Imported(await asyncio.to_thread(decide, prepared, present, on_conflict), False)
        return Imported(await self._surely(prepared, on_conflict, by), True)

    @asynccontextmanager
    async def _reading(self) -> AsyncGenerator[Transfers]:
        with outages_told():
            async with self._db.autocommit() as pipe:
                yield Transfers(pipe)

    async def _surely(self, prepared: Sequence[Prepared], policy: OnConflict, by: str) -> ImportPlan:
        """Carry an import out, again while the connection is lost over it, or while others take its names."""
        import_id, plan = new_id(), None
        for seconds in (*RETRY_SECONDS, None):
            try:
                async with self._db.pipe() as pipe:
                    transfers = Transfers(pipe)
                    await transfers.queue_up()
                    if plan is not None and await transfers.is_done(import_id):
                        return plan
                    present = await _present(transfers, prepared, policy, lock=True)
                    # Comparing thousands takes a second, in which others on the event loop go on.
                    plan = await asyncio.to_thread(decide, prepared, present, policy)
                    _require_possible(plan)
                    await _carry_out(transfers, plan, import_id, by, policy)
                return plan
            except Exception as error:
                if not (is_disconnect(error) or isinstance(error, (*REPEATABLE, _Overtaken))):
                    raise
                if seconds is None:
                    raise ServiceUnavailable(
                        "The database is away or in trouble, so it is not known whether the tasks were imported. "
                        "auditEvents shows it; with REPLACE or SKIP, importing again does no harm."
                    ) from error
                logger.info("Importing tasks again, because: %s", error)
                await asyncio.sleep(seconds)
        raise AssertionError("the last round returns or raises")


async def _present(
    transfers: Transfers, prepared: Sequence[Prepared], policy: OnConflict, *, lock: bool = False
) -> Present:
    """What is there of the names of a document; locked, what is replaced stays so until the transaction ends."""
    replaces = policy is OnConflict.REPLACE
    keys = {one.key for one in prepared if one.name is not None}
    tasks = await transfers.named(sorted(keys), lock=lock and replaces)
    ids = [task["id"] for task in tasks.values()]
    schedules = await transfers.schedules(ids, lock=lock) if replaces else {}
    groups = sorted({group for group, _ in tasks})
    names = await transfers.names(groups) if policy is OnConflict.RENAME else set[TaskKey]()
    return Present(tasks, schedules, names)


def _require_possible(plan: ImportPlan) -> None:
    if problems := plan.problems:
        raise ImportImpossible(plan, problems[0].path, problems[0].message, len(problems))


async def _carry_out(transfers: Transfers, plan: ImportPlan, import_id: UUID, by: str, policy: OnConflict) -> None:
    """Write what the plan says. Raises ``_Overtaken``."""
    written = [item for item in plan.items if item.is_written]
    new = [item for item in written if item.task_id is None]
    for item in new:
        item.task_id = new_id()
    rows = {item.prepared.index: _task_row(item, by) for item in written}
    if await transfers.insert_tasks([rows[item.prepared.index] for item in new]) < len(new):
        raise _Overtaken("somebody took a name meanwhile")
    replaced = [item for item in written if item.step is ImportStep.REPLACE]
    await transfers.replace_tasks([rows[item.prepared.index] for item in replaced])
    await transfers.add_revisions([_revision(item, by) for item in written])
    await transfers.end_schedules([id for item in replaced for id in item.removed], by)
    await transfers.add_schedules([
        {**schedule, "task_id": item.task_id, "created_by": by, "updated_by": by}
        for item in written for schedule in item.added
    ])  # fmt: skip
    await transfers.add_events(import_id, _deeds(plan, by, policy))


def _task_row(item: ImportItem, by: str) -> dict[str, Any]:
    columns = {**item.prepared.columns, "name": item.name}
    return {**columns, "id": item.task_id, "version": item.version, "created_by": by, "updated_by": by}


def _revision(item: ImportItem, by: str) -> dict[str, Any]:
    fields = {**item.prepared.columns, "name": item.name}
    change = TaskChange.IMPORTED
    return {"task_id": item.task_id, "version": item.version, "changed_by": by, "change": change, "fields": fields}


def _deeds(plan: ImportPlan, by: str, policy: OnConflict) -> list[Deed]:
    """The import, and what it did to each task and schedule."""
    counts = {step.value.lower(): plan.count(step) for step in ImportStep}
    found = [Deed(principal=by, action=DEED, subject_kind="tasks", details={"onConflict": policy, **counts})]
    for item in plan.items:
        if item.is_written:
            found.append(_about("task", item.task_id, by, {"step": item.step, "version": item.version}))
            found += [_about("schedule", one["id"], by, {"task": str(item.task_id)}) for one in item.added]
            found += [_about("schedule", id, by, {"task": str(item.task_id), "deleted": True}) for id in item.removed]
    return found


def _about(kind: str, id: UUID | None, by: str, details: dict[str, Any]) -> Deed:
    return Deed(principal=by, action=DEED, subject_kind=kind, subject_id=id, details=details)
