"""The refusals of saved tasks, their schedules and saved searches as data."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry

from app import errors, task_errors
from app.schema.principals import Principal, principal_of
from app.schema.refusals import Error, refusal
from app.schema.task_words import CALLED


@refusal(task_errors.TaskNotFound)
class TaskNotFound(Error):
    """There is no saved task of that id, or it was deleted."""


def _conflict(error: task_errors.TaskConflict) -> dict[str, Any]:
    return {
        "version": error.version,
        "changed_by": principal_of(error.changed_by),
        "changed_at": error.changed_at,
        "fields": [CALLED.get(field, field) for field in error.fields],
    }


@refusal(task_errors.TaskConflict, _conflict)
class TaskConflict(Error):
    """Somebody else has changed the task since the version that the change was made for."""

    version: int = strawberry.field(description="The version that the task is at now.")
    changed_by: Principal = strawberry.field(description="Who changed it last.")
    changed_at: datetime = strawberry.field(description="When.")
    fields: list[str] = strawberry.field(description="What is different now from the version that was named.")


@refusal(task_errors.TaskNameTaken)
class TaskNameTaken(Error):
    """Another task of the group has that name."""

    task_id: strawberry.ID = strawberry.field(description="The id of the task that has it.")


@refusal(task_errors.TaskDisabled)
class TaskDisabled(Error):
    """The task is disabled."""


@refusal(task_errors.TaskRevisionNotFound)
class TaskRevisionNotFound(Error):
    """The task has no revision of that number."""


@refusal(task_errors.CooldownActive)
class CooldownActive(Error):
    """The definition's cooldown since the last execution is not over; nothing was stored."""

    until: datetime = strawberry.field(description="When it is over.")
    run_id: strawberry.ID = strawberry.field(description="The run that began it.")


@refusal(task_errors.SavedSearchNotFound)
class SavedSearchNotFound(Error):
    """There is no saved search of that id that is yours."""


@refusal(task_errors.SavedSearchNameTaken)
class SavedSearchNameTaken(Error):
    """You have a saved search of that name already."""


@refusal(errors.ScheduleNotFound)
class ScheduleNotFound(Error):
    """No schedule has that id, or it was deleted."""


@refusal(errors.ScheduleConflict, lambda error: {"version": error.version, "editor": principal_of(error.editor)})
class ScheduleConflict(Error):
    """Somebody else has changed the schedule since the version that the change was made for."""

    version: int = strawberry.field(description="The version that the schedule is at now.")
    editor: Principal = strawberry.field(description="Who changed it.")
