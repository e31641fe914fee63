"""Refusals as data: the error types of the schema, and what turns the application's exceptions into them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import strawberry

from app import errors
from app.schema.vocabulary import ErrorCode


@strawberry.interface(description="A refusal: something that whoever asked can put right.")
class Error:
    """What all refusals have in common."""

    message: str = strawberry.field(description="What is wrong and what is allowed, as a sentence for people.")
    code: ErrorCode = strawberry.field(description="What is wrong, for programs.")
    path: list[str] | None = strawberry.field(
        description='The argument that is wrong, as in `["input", "delaySeconds"]`; null when none is to blame.'
    )


Data = TypeVar("Data", bound=Error)
Details = Callable[[Any], dict[str, Any]]

DATA: dict[type[errors.TaskError], tuple[type[Error], Details]] = {}
"""What each refusal is as data, and what it says there besides its message; ``refusal`` fills it."""
HANDLERS: list[AsData] = []
"""An unreachable database is a top-level error; it is data for single items of a bulk trigger only."""


def refusal(cause: type[errors.TaskError], details: Details | None = None) -> Callable[[type[Data]], type[Data]]:
    """Make a class, described by its docstring, what a refusal is as data in every result that has it as a member.

    ``details`` makes its own fields; by default they are those of the refusal that have the same names.
    """

    def register(data: type[Data]) -> type[Data]:
        own = tuple(data.__annotations__)
        made = strawberry.type(data, description=data.__doc__)
        DATA[cause] = made, details or (lambda error: {name: getattr(error, name) for name in own})
        if cause is not errors.ServiceUnavailable:
            HANDLERS.append(AsData(cause, made))
        return made

    return register


def as_data(error: errors.TaskError, *, below: tuple[str, ...] = ("input",)) -> Error:
    """A refusal as an object of the schema; raises it when it is none of those that are data.

    ``below`` replaces the first segment of its path, for one item among many.
    """
    cause = next((cause for cause in DATA if isinstance(error, cause)), None)
    if cause is None:
        raise error
    data, details = DATA[cause]
    path = [*below, *error.path[1:]] if error.path else None
    return data(message=error.message, code=error.code, path=path, **details(error))


class AsData:
    """Strawberry's exception handler for one refusal: applies to fields whose result has its type as a member."""

    def __init__(self, cause: type[errors.TaskError], data: type[Error]) -> None:
        self.exception_type = cause
        self.error_type = data

    def handle(self, exception: errors.TaskError, *, field: Any, **_: Any) -> Error:
        """The refusal as data; a field with arguments beside ``input`` has them at the root of the path."""
        if exception.path and exception.path[0] == "filter":
            return as_data(exception, below=_place_of_filter(field))
        return as_data(exception, below=("input",) if len(field.arguments) == 1 else ())


def _place_of_filter(field: Any) -> tuple[str, ...]:
    """Where the filter of a field is: in its selection, if it has one."""
    [argument] = field.arguments
    input_type = getattr(argument.type, "of_type", argument.type)
    selects = any(part.name == "select" for part in input_type.__strawberry_definition__.fields)
    return ("input", "select", "filter") if selects else ("input", "filter")


@strawberry.type(description="One thing wrong with a task's input.")
class InputIssue:
    """Where an input is wrong, and how."""

    path: list[str] = strawberry.field(description="The place, from the input's root downwards.")
    message: str = strawberry.field(description="What is wrong, as words for people.")
    type: str = strawberry.field(description="Which rule was broken, as a word for programs.")


def issues(found: tuple[errors.InputIssue, ...] | list[errors.InputIssue]) -> list[InputIssue]:
    """Issues as objects of the schema."""
    return [InputIssue(path=list(issue.path), message=issue.message, type=issue.type) for issue in found]


@refusal(errors.InvalidArgument)
class InvalidArgument(Error):
    """An argument is outside of what is allowed."""


@refusal(errors.InvalidTaskInput, lambda error: {"issues": issues(error.issues)})
class InvalidTaskInput(Error):
    """The input does not fit the schema of the definition."""

    issues: list[InputIssue] = strawberry.field(description="Everything that is wrong, up to 20 issues.")


@refusal(errors.TaskDefinitionNotFound)
class TaskDefinitionNotFound(Error):
    """There is no task definition of that id."""


@refusal(errors.TaskRunNotFound)
class TaskRunNotFound(Error):
    """There is no run of that id."""


@refusal(errors.TaskRunNotAbortable)
class TaskRunNotAbortable(Error):
    """The run is final, so there is nothing to abort."""


@refusal(errors.TaskRunNotFinal)
class TaskRunNotFinal(Error):
    """The run is not final yet, so it cannot go on from its last state."""


@refusal(errors.IdempotencyConflict)
class IdempotencyConflict(Error):
    """The idempotency key was used before, with another input."""

    run_id: strawberry.ID = strawberry.field(description="The id of the run that the key belongs to.")


@refusal(errors.UniqueConflict)
class UniqueConflict(Error):
    """A run that is not final holds the same unique key."""

    run_id: strawberry.ID = strawberry.field(description="The id of the run that holds the key.")


@refusal(errors.LimitReached)
class LimitReached(Error):
    """The definition refuses triggers while one of its limits is full; nothing was stored."""

    key: str | None = strawberry.field(description="The limit key that is full; null when the whole definition is.")
    retry_at: datetime | None = strawberry.field(
        description="When there is room again, unless others come first; null when that depends on the runs."
    )


@refusal(errors.QueueFull)
class QueueFull(Error):
    """The queue holds as many runs as it may; nothing was stored."""

    queue: str = strawberry.field(description="The queue.")
    depth: int = strawberry.field(description="How many runs wait in it, about; not counted far beyond the limit.")
    limit: int = strawberry.field(description="How many may wait in it before triggers are refused.")


@refusal(errors.BulkActionNotFound)
class BulkActionNotFound(Error):
    """There is no bulk action of that id."""


@refusal(errors.BulkActionNotAbortable)
class BulkActionNotAbortable(Error):
    """The bulk action has ended, so there is nothing to abort."""


@refusal(errors.BatchNotFound)
class BatchNotFound(Error):
    """There is no batch of that id."""


@refusal(errors.BatchNotAbortable)
class BatchNotAbortable(Error):
    """All runs of the batch are final, so there is nothing to abort."""


@refusal(errors.ConfirmationRequired)
class ConfirmationRequired(Error):
    """It touches everything, and nobody has said that this is meant. Nothing was done."""


@refusal(errors.ParentAborted)
class ParentAborted(Error):
    """The parent was aborted, so it gets no more children."""

    run_id: strawberry.ID = strawberry.field(description="The id of the parent.")


@refusal(errors.TriggerRefused)
class TriggerRefused(Error):
    """The definition's own check refused the trigger."""


@refusal(errors.CodeNotLoaded)
class CodeNotLoaded(Error):
    """The definition checks triggers with its own code, which this server has not loaded."""


@refusal(errors.ServiceUnavailable)
class ServiceUnavailable(Error):
    """The database went away before this item was stored, as far as is known."""
