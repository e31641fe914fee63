"""What bulk actions do to saved tasks: execute them, each once, and change them, each by a revision of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement

from app.auth import Principal
from app.bulk_actions import ItemError
from app.db import Pipe
from app.errors import TaskError
from app.models import BulkAction, BulkActionKind, Task
from app.registry import Triggers
from app.service.bulk.work import Acted, Work
from app.service.executing import Overrides, request_for
from app.service.known import KnownDefinitions
from app.service.requests import UNSET
from app.service.saved import SavedTasks, not_on_demand
from app.service.task_fields import TaskChanges
from app.service.triggering import Triggering
from app.task_errors import TaskConflict, TaskDisabled, TaskNotFound
from app.task_filters import TABLE

CONFLICT_ROUNDS = 5


class _OnTasks:
    """What all works on tasks have in common: their items are named by their ids."""

    @property
    def ids(self) -> ColumnElement[Any]:
        """The column of the tasks' ids."""
        return TABLE.c.id

    def chosen_ids(self, action: BulkAction) -> list[UUID] | None:
        """The tasks."""
        return [UUID(id) for id in action.selection["ids"]]

    def parts(self, action: BulkAction) -> list[list[ColumnElement[bool]]]:
        """None: a filter was made into ids when the action was asked for."""
        return []

    def together(self, action: BulkAction) -> list[ColumnElement[bool]]:
        """The tasks that are there."""
        return [TABLE.c.id.in_(self.chosen_ids(action) or []), TABLE.c.deleted_at.is_(None)]

    async def before(self, pipe: Pipe, action: BulkAction) -> None:
        """Nothing."""


@dataclass(frozen=True)
class ExecuteTasks(_OnTasks):
    """Executes tasks into one batch, each once, however often a step is repeated: by an idempotency key for each."""

    saved: SavedTasks
    definitions: KnownDefinitions
    triggering: Triggering
    size = 250

    async def act(self, pipe: Pipe, action: BulkAction, item_ids: Sequence[UUID]) -> Acted:
        """Execute as ``executeTask`` does."""
        found = await self.saved.find(item_ids)
        known = await self.definitions.find({task.definition_id for task in found.values()})
        scheduled = {id for id, definition in known.items() if definition.triggers is Triggers.SCHEDULED}
        refused: dict[UUID, TaskError] = {}
        for id in item_ids:
            if refusal := _refusal(id, found.get(id), scheduled, force=action.arguments.get("force", False)):
                refused[id] = refusal
        ready = [found[id] for id in item_ids if id not in refused]
        requests = [request_for(task, _overrides(action, task), batch_id=action.batch_id) for task in ready]
        answers = await self.triggering.submit_many(requests, Principal.parse(action.created_by), allow_private=True)
        for task, answer in zip(ready, answers, strict=True):
            if isinstance(answer, TaskError):
                refused[task.id] = answer
        return Acted(len(item_ids) - len(refused), _errors(refused))


@dataclass(frozen=True)
class UpdateTasks(_OnTasks):
    """Changes tasks; one that is as it is to be stays at its version, so that a repeated step changes nothing more."""

    saved: SavedTasks
    # Each has a transaction of its own, and whoever asked waits for the end of a step.
    size = 10

    async def act(self, pipe: Pipe, action: BulkAction, item_ids: Sequence[UUID]) -> Acted:
        """Change as ``updateTask`` does, whatever the version."""
        refused: dict[UUID, TaskError] = {}
        for id in item_ids:
            try:
                await self._change(id, action.arguments["changes"], Principal.parse(action.created_by))
            except TaskError as refusal:
                refused[id] = refusal
        return Acted(len(item_ids) - len(refused), _errors(refused))

    async def _change(self, task_id: UUID, changes: Mapping[str, Any], by: Principal) -> None:
        for last in range(CONFLICT_ROUNDS, 0, -1):
            task = await self.saved.get(task_id)
            try:
                await self.saved.update(task_id, task.version, _changes(task, changes), principal=by)
            except TaskConflict:
                # Somebody has changed it between the two: what they changed stays, ours is added.
                if last == 1:
                    raise
            else:
                return


def on_tasks(saved: SavedTasks, definitions: KnownDefinitions, triggering: Triggering) -> dict[BulkActionKind, Work]:
    """The work of each kind of bulk action on tasks."""
    return {
        BulkActionKind.EXECUTE_TASKS: ExecuteTasks(saved, definitions, triggering),
        BulkActionKind.UPDATE_TASKS: UpdateTasks(saved),
    }


def _refusal(id: UUID, task: Task | None, scheduled: set[str], *, force: bool) -> TaskError | None:
    if task is None:
        return TaskNotFound(id)
    if force:
        return None
    if not task.is_enabled:
        return TaskDisabled(task.id, task.name)
    return not_on_demand(task.definition_id) if task.definition_id in scheduled else None


def _overrides(action: BulkAction, task: Task) -> Overrides:
    given = action.arguments
    return Overrides(
        input=given.get("input", UNSET),
        tags=given.get("tags", ()),
        priority=given.get("priority"),
        idempotency_key=f"bulk-action/{action.id}/{task.id}",
    )


def _changes(task: Task, changes: Mapping[str, Any]) -> TaskChanges:
    plain: dict[str, Any] = {name: value for name, value in changes.items() if name not in ("add_tags", "remove_tags")}
    removed, added = changes.get("remove_tags", ()), changes.get("add_tags", ())
    if removed or added:
        kept = [tag for tag in task.tags if tag not in removed]
        plain["tags"] = kept + [tag for tag in added if tag not in kept]
    return TaskChanges(**plain)


def _errors(refused: Mapping[UUID, TaskError]) -> list[ItemError]:
    return [ItemError(id, refusal.code, refusal.message) for id, refusal in sorted(refused.items())]
