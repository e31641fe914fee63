"""The refusals of saved tasks and saved searches as data."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry

from app import task_errors
from app.schema.principals import Principal, principal_of
from app.schema.refusals import Error, register
from app.schema.task_words import CALLED


@strawberry.type(description="There is no saved task of that id, or it was deleted.")
class TaskNotFound(Error):
    """An unknown task."""


@strawberry.type(description="Somebody else has changed the task since the version that the change was made for.")
class TaskConflict(Error):
    """Two editors."""

    version: int = strawberry.field(description="The version that the task is at now.")
    changed_by: Principal = strawberry.field(description="Who changed it last.")
    changed_at: datetime = strawberry.field(description="When.")
    fields: list[str] = strawberry.field(description="What is different now from the version that was named.")


@strawberry.type(description="Another task of the group has that name.")
class TaskNameTaken(Error):
    """A name in use."""

    task_id: strawberry.ID = strawberry.field(description="The id of the task that has it.")


@strawberry.type(description="The task is disabled.")
class TaskDisabled(Error):
    """A task that is not executed."""


@strawberry.type(description="The task has no revision of that number.")
class TaskRevisionNotFound(Error):
    """An unknown revision."""


@strawberry.type(description="The definition's cooldown since the last execution is not over; nothing was stored.")
class CooldownActive(Error):
    """A cooldown."""

    until: datetime = strawberry.field(description="When it is over.")
    run_id: strawberry.ID = strawberry.field(description="The run that began it.")


@strawberry.type(description="There is no saved search of that id that is yours.")
class SavedSearchNotFound(Error):
    """An unknown search."""


@strawberry.type(description="You have a saved search of that name already.")
class SavedSearchNameTaken(Error):
    """A name in use."""


def _conflict(error: task_errors.TaskConflict) -> dict[str, Any]:
    return {
        "version": error.version,
        "changed_by": principal_of(error.changed_by),
        "changed_at": error.changed_at,
        "fields": [CALLED.get(field, field) for field in error.fields],
    }


register(task_errors.TaskNotFound, TaskNotFound)
register(task_errors.TaskConflict, TaskConflict, _conflict)
register(task_errors.TaskNameTaken, TaskNameTaken, lambda error: {"task_id": strawberry.ID(error.task_id)})
register(task_errors.TaskDisabled, TaskDisabled)
register(task_errors.TaskRevisionNotFound, TaskRevisionNotFound)
register(
    task_errors.CooldownActive,
    CooldownActive,
    lambda error: {"until": error.until, "run_id": strawberry.ID(error.run_id)},
)
register(task_errors.SavedSearchNotFound, SavedSearchNotFound)
register(task_errors.SavedSearchNameTaken, SavedSearchNameTaken)
