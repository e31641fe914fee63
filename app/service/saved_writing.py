"""One change of a saved task, in the caller's transaction: the task, its revision, and who did it in the audit."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from app.audit import Deed
from app.models import Task
from app.task_errors import TaskNameTaken
from app.tasks import TaskWrites, fields_of


class TaskChange(StrEnum):
    """What made a revision of a task."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    ENABLED = "ENABLED"
    DISABLED = "DISABLED"
    DUPLICATED = "DUPLICATED"
    RESTORED = "RESTORED"
    DELETED = "DELETED"
    IMPORTED = "IMPORTED"


DEEDS = {
    TaskChange.CREATED: "createTask",
    TaskChange.UPDATED: "updateTask",
    TaskChange.ENABLED: "updateTask",
    TaskChange.DISABLED: "updateTask",
    TaskChange.DUPLICATED: "duplicateTask",
    TaskChange.RESTORED: "restoreTaskRevision",
    TaskChange.DELETED: "deleteTask",
}
"""What the audit calls the changes; an import has an event of its own."""


async def write_next(
    writes: TaskWrites,
    task: Task,
    columns: dict[str, Any],
    by: str,
    change: TaskChange,
    source: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Make a task, which is locked, what the columns say, as its next version. Raises ``TaskNameTaken``."""
    version = task.version + 1
    if not await writes.update(task.id, version, columns, by, deleted=change is TaskChange.DELETED):
        name, group = columns["name"], columns["group_name"]
        raise TaskNameTaken(name, group, await writes.named(name, group))
    changed = sorted(name for name, value in fields_of(task).items() if columns[name] != value)
    await keep(writes, task.id, version, by, change, columns, source, changed)


async def keep(
    writes: TaskWrites,
    task_id: UUID,
    version: int,
    by: str,
    change: TaskChange,
    columns: Mapping[str, Any],
    source: Mapping[str, Any],
    changed: list[str] | None = None,
) -> None:
    """Keep how a task is from now on, and who made it so; the audit names the fields, the revision has the values."""
    await writes.add_revision(task_id, version, by, change, columns, source)
    details: dict[str, Any] = {"name": columns["name"], "version": version, **source}
    if changed:
        details["fields"] = changed
    await writes.add_event(
        Deed(principal=by, action=DEEDS[change], subject_kind="task", subject_id=task_id, details=details)
    )


def kind_of(task: Task, columns: Mapping[str, Any]) -> TaskChange:
    """What to call an update of a task to these columns."""
    others = [name for name, value in fields_of(task).items() if name != "is_enabled" and columns[name] != value]
    if others:
        return TaskChange.UPDATED
    return TaskChange.ENABLED if columns["is_enabled"] else TaskChange.DISABLED
