"""The refusals of schedules as data."""

from __future__ import annotations

import strawberry

from app import errors
from app.schema.principals import Principal, principal_of
from app.schema.refusals import Error, register


@strawberry.type(description="No schedule has that id, or it was deleted.")
class ScheduleNotFound(Error):
    """An unknown schedule."""


@strawberry.type(description="Somebody else has changed the schedule since the version that the change was made for.")
class ScheduleConflict(Error):
    """Two editors."""

    version: int = strawberry.field(description="The version that the schedule is at now.")
    editor: Principal = strawberry.field(description="Who changed it.")


register(errors.ScheduleNotFound, ScheduleNotFound)
register(
    errors.ScheduleConflict,
    ScheduleConflict,
    lambda error: {"version": error.version, "editor": principal_of(error.editor)},
)
