"""Bulk actions on saved tasks: what ``tasks.bulk`` offers besides those on runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.auth import Principal
from app.errors import InvalidArgument
from app.models import BulkAction, BulkActionKind, Task
from app.service.arguments import MAX_TAG, text
from app.service.bulk.task_selections import TaskSelection
from app.service.declared import as_declared
from app.service.requests import UNSET, Unset
from app.service.saved import SavedTasks
from app.service.task_fields import check_shared

SAMPLE = 10
CHANGES = ("input", "changes")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBulkChanges:
    """What is to change of many tasks; what is not given stays as it is.

    Args:
        add_tags, remove_tags: words that each gets, or loses.
        group: the group that they belong to from now on; None is none.
        owner: a principal as ``KIND:id``.
        is_enabled, priority: as in ``TaskFields``.
    """

    add_tags: Sequence[str] = ()
    remove_tags: Sequence[str] = ()
    group: str | Unset | None = UNSET
    owner: str | Unset = UNSET
    is_enabled: bool | Unset = UNSET
    priority: int | Unset | None = UNSET

    def stored(self) -> dict[str, Any]:
        """The changes as JSON. Raises ``InvalidArgument`` when there are none, or one that no task may have."""
        given = {name: getattr(self, name) for name in ("group", "owner", "is_enabled", "priority")}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not UNSET}
        check_shared(changes, CHANGES)
        for field, tags in (("addTags", self.add_tags), ("removeTags", self.remove_tags)):
            for tag in tags:
                text(tag, field, MAX_TAG, CHANGES)
        changes |= {name: list(tags) for name in ("add_tags", "remove_tags") if (tags := getattr(self, name))}
        if not changes:
            raise InvalidArgument("Say what is to change: nothing was given.", path=CHANGES)
        return changes


@as_declared
class TaskBulkActions:
    """The part of ``tasks.bulk`` that acts on saved tasks."""

    def __init__(self, saved: SavedTasks, max_items: int, max_page: int) -> None:
        self._saved = saved
        self._max_items = max_items
        self._max_page = max_page

    async def _start(
        self,
        kind: BulkActionKind,
        selection: dict[str, Any],
        given: dict[str, Any],
        deed: str,
        principal: Principal | None,
        batch_id: UUID | None = None,
    ) -> BulkAction:
        raise NotImplementedError

    async def update_tasks(
        self, selection: TaskSelection, changes: TaskBulkChanges, *, principal: Principal | None = None
    ) -> BulkAction:
        """Change many tasks, each by a revision of its own; what others change meanwhile stays.

        Raises:
            InvalidArgument, ConfirmationRequired.

        Example:
            action = await tasks.bulk.update_tasks(TaskSelection(ids=ids), TaskBulkChanges(add_tags=["nightly"]))
        """
        given = {"changes": changes.stored()}
        return await self._on_tasks(BulkActionKind.UPDATE_TASKS, selection, given, "updateTasks", principal)

    async def move_tasks(
        self, selection: TaskSelection, group: str | None, *, principal: Principal | None = None
    ) -> BulkAction:
        """Move many tasks into a group, or out of any. One whose name is taken there is an error of its own.

        Raises:
            InvalidArgument, ConfirmationRequired.

        Example:
            action = await tasks.bulk.move_tasks(TaskSelection(ids=ids), "billing")
        """
        check_shared({"group": group}, ("input",))
        given = {"changes": {"group": group}}
        return await self._on_tasks(BulkActionKind.UPDATE_TASKS, selection, given, "moveTasks", principal)

    async def execute_tasks(
        self,
        selection: TaskSelection,
        batch_id: UUID,
        arguments: dict[str, Any],
        *,
        principal: Principal | None = None,
    ) -> BulkAction:
        """Execute many tasks into a batch; what ``tasks.batches.execute`` begins with.

        Example:
            action = await tasks.bulk.execute_tasks(TaskSelection(ids=ids), batch_id, {})
        """
        kind = BulkActionKind.EXECUTE_TASKS
        return await self._on_tasks(kind, selection, arguments, "executeTasks", principal, batch_id)

    async def preview_tasks(
        self, selection: TaskSelection, *, principal: Principal | None = None
    ) -> tuple[int, list[Task]]:
        """How many tasks are selected and there, and ten of them; nothing is changed.

        Example:
            total, sample = await tasks.bulk.preview_tasks(TaskSelection(ids=ids))
        """
        stored = await selection.stored(self._saved, self._max_items, self._max_page, principal)
        found = await self._saved.find([UUID(id) for id in stored["ids"]])
        return len(found), [found[id] for id in sorted(found)][-SAMPLE:]

    async def _on_tasks(
        self,
        kind: BulkActionKind,
        selection: TaskSelection,
        given: dict[str, Any],
        deed: str,
        principal: Principal | None,
        batch_id: UUID | None = None,
    ) -> BulkAction:
        stored = await selection.stored(self._saved, self._max_items, self._max_page, principal)
        return await self._start(kind, stored, given, deed, principal, batch_id)
