"""Refusals as data: the error types of the schema, and what turns the application's exceptions into them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

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


@strawberry.type(description="An argument is outside of what is allowed.")
class InvalidArgument(Error):
    """A bad argument."""


@strawberry.type(description="One thing wrong with a task's input.")
class InputIssue:
    """Where an input is wrong, and how."""

    path: list[str] = strawberry.field(description="The place, from the input's root downwards.")
    message: str = strawberry.field(description="What is wrong, as words for people.")
    type: str = strawberry.field(description="Which rule was broken, as a word for programs.")


@strawberry.type(description="The input does not fit the schema of the definition.")
class InvalidTaskInput(Error):
    """Input that the definition does not take."""

    issues: list[InputIssue] = strawberry.field(description="Everything that is wrong, up to 20 issues.")


@strawberry.type(description="There is no task definition of that id.")
class TaskDefinitionNotFound(Error):
    """An unknown definition."""


@strawberry.type(description="There is no run of that id.")
class TaskRunNotFound(Error):
    """An unknown run."""


@strawberry.type(description="The run is final, so there is nothing to abort.")
class TaskRunNotAbortable(Error):
    """A final run."""


@strawberry.type(description="The run is not final yet, so it cannot go on from its last state.")
class TaskRunNotFinal(Error):
    """A live run."""


@strawberry.type(description="The idempotency key was used before, with another input.")
class IdempotencyConflict(Error):
    """A key used for something else."""

    run_id: strawberry.ID = strawberry.field(description="The id of the run that the key belongs to.")


@strawberry.type(description="A run that is not final holds the same unique key.")
class UniqueConflict(Error):
    """A key in use."""

    run_id: strawberry.ID = strawberry.field(description="The id of the run that holds the key.")


@strawberry.type(description="The definition refuses triggers while one of its limits is full; nothing was stored.")
class LimitReached(Error):
    """A limit that is full."""

    key: str | None = strawberry.field(description="The limit key that is full; null when the whole definition is.")
    retry_at: datetime | None = strawberry.field(
        description="When there is room again, unless others come first; null when that depends on the runs."
    )


@strawberry.type(description="The queue holds as many runs as it may; nothing was stored.")
class QueueFull(Error):
    """A queue that takes no more for now."""

    queue: str = strawberry.field(description="The queue.")
    depth: int = strawberry.field(description="How many runs wait in it, about; not counted far beyond the limit.")
    limit: int = strawberry.field(description="How many may wait in it before triggers are refused.")


@strawberry.type(description="There is no bulk action of that id.")
class BulkActionNotFound(Error):
    """An unknown bulk action."""


@strawberry.type(description="The bulk action has ended, so there is nothing to abort.")
class BulkActionNotAbortable(Error):
    """A bulk action that has ended."""


@strawberry.type(description="There is no batch of that id.")
class BatchNotFound(Error):
    """An unknown batch."""


@strawberry.type(description="All runs of the batch are final, so there is nothing to abort.")
class BatchNotAbortable(Error):
    """A batch whose runs are final."""


@strawberry.type(description="It touches everything, and nobody has said that this is meant. Nothing was done.")
class ConfirmationRequired(Error):
    """What has to be said in words."""


@strawberry.type(description="The parent was aborted, so it gets no more children.")
class ParentAborted(Error):
    """A parent whose abort would not reach the child any more."""

    run_id: strawberry.ID = strawberry.field(description="The id of the parent.")


@strawberry.type(description="The definition's own check refused the trigger.")
class TriggerRefused(Error):
    """A ``before_trigger`` that said no."""


@strawberry.type(description="The definition checks triggers with its own code, which this server has not loaded.")
class CodeNotLoaded(Error):
    """A ``before_trigger`` that cannot be asked."""


@strawberry.type(description="The database went away before this item was stored, as far as is known.")
class ServiceUnavailable(Error):
    """An item of a bulk trigger that met an outage, while others may have been stored."""


DATA: dict[type[errors.TaskError], type[Error]] = {
    errors.InvalidArgument: InvalidArgument,
    errors.InvalidTaskInput: InvalidTaskInput,
    errors.TaskDefinitionNotFound: TaskDefinitionNotFound,
    errors.TaskRunNotFound: TaskRunNotFound,
    errors.TaskRunNotAbortable: TaskRunNotAbortable,
    errors.TaskRunNotFinal: TaskRunNotFinal,
    errors.IdempotencyConflict: IdempotencyConflict,
    errors.UniqueConflict: UniqueConflict,
    errors.LimitReached: LimitReached,
    errors.QueueFull: QueueFull,
    errors.BulkActionNotFound: BulkActionNotFound,
    errors.BulkActionNotAbortable: BulkActionNotAbortable,
    errors.BatchNotFound: BatchNotFound,
    errors.BatchNotAbortable: BatchNotAbortable,
    errors.ConfirmationRequired: ConfirmationRequired,
    errors.ParentAborted: ParentAborted,
    errors.TriggerRefused: TriggerRefused,
    errors.CodeNotLoaded: CodeNotLoaded,
    errors.ServiceUnavailable: ServiceUnavailable,
}
"""What each refusal is as data."""
DETAILS: dict[type[errors.TaskError], Callable[[Any], dict[str, Any]]] = {}
"""What refusals of other modules say besides their message; ``register`` fills it."""


def as_data(error: errors.TaskError, *, below: tuple[str, ...] = ("input",)) -> Error:
    """A refusal as an object of the schema; raises it when it is none of those that are data.

    ``below`` replaces the first segment of its path, for one item among many.
    """
    kind = next((data for cause, data in DATA.items() if isinstance(error, cause)), None)
    if kind is None:
        raise error
    path = [*below, *error.path[1:]] if error.path else None
    return kind(message=error.message, code=error.code, path=path, **_details(error))


def _details(error: errors.TaskError) -> dict[str, Any]:
    if details := DETAILS.get(type(error)):
        return details(error)
    if isinstance(error, errors.InvalidTaskInput):
        return {"issues": issues(error.issues)}
    if isinstance(error, errors.IdempotencyConflict | errors.UniqueConflict | errors.ParentAborted):
        return {"run_id": strawberry.ID(error.run_id)}
    if isinstance(error, errors.LimitReached):
        return {"key": error.key, "retry_at": error.retry_at}
    if isinstance(error, errors.QueueFull):
        return {"queue": error.queue, "depth": error.depth, "limit": error.limit}
    return {}


def issues(found: tuple[errors.InputIssue, ...] | list[errors.InputIssue]) -> list[InputIssue]:
    """Issues as objects of the schema."""
    return [InputIssue(path=list(issue.path), message=issue.message, type=issue.type) for issue in found]


class AsData:
    """Strawberry's exception handler for one refusal: applies to fields whose result has its type as a member."""

    def __init__(self, cause: type[errors.TaskError], data: type[Error]) -> None:
        self.exception_type = cause
        self.error_type = data

    def handle(self, exception: errors.TaskError, **_: Any) -> Error:
        """The refusal as data."""
        return as_data(exception)


HANDLERS = [AsData(cause, data) for cause, data in DATA.items() if cause is not errors.ServiceUnavailable]
"""An unreachable database is a top-level error; it is data for single items of a bulk trigger only."""


def register(
    cause: type[errors.TaskError], data: type[Error], details: Callable[[Any], dict[str, Any]] = lambda _: {}
) -> None:
    """Make a refusal data in every result that has its type as a member; ``details`` makes its own fields."""
    DATA[cause] = data
    DETAILS[cause] = details
    HANDLERS.append(AsData(cause, data))
