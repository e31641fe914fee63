"""Every refusal of Taskloom by name: an error a user can cause, with a message that says what is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.counting import counted

TOLD_ISSUES = 3
"""How many things that are wrong with an input its refusal tells; the rest is in its ``issues``."""


class ErrorCode(StrEnum):
    """The code of a refusal, for programs to act on."""

    BAD_USER_INPUT = "BAD_USER_INPUT"
    INVALID_TASK_INPUT = "INVALID_TASK_INPUT"
    TASK_DEFINITION_NOT_FOUND = "TASK_DEFINITION_NOT_FOUND"
    TASK_RUN_NOT_FOUND = "TASK_RUN_NOT_FOUND"
    ERROR_GROUP_NOT_FOUND = "ERROR_GROUP_NOT_FOUND"
    SCHEDULE_NOT_FOUND = "SCHEDULE_NOT_FOUND"
    SCHEDULE_CONFLICT = "SCHEDULE_CONFLICT"
    TASK_RUN_NOT_ABORTABLE = "TASK_RUN_NOT_ABORTABLE"
    TASK_RUN_NOT_FINAL = "TASK_RUN_NOT_FINAL"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    UNIQUE_CONFLICT = "UNIQUE_CONFLICT"
    LIMIT_REACHED = "LIMIT_REACHED"
    QUEUE_FULL = "QUEUE_FULL"
    TASK_NOT_FOUND = "TASK_NOT_FOUND"
    TASK_CONFLICT = "TASK_CONFLICT"
    TASK_NAME_TAKEN = "TASK_NAME_TAKEN"
    TASK_DISABLED = "TASK_DISABLED"
    TASK_REVISION_NOT_FOUND = "TASK_REVISION_NOT_FOUND"
    COOLDOWN_ACTIVE = "COOLDOWN_ACTIVE"
    SAVED_SEARCH_NOT_FOUND = "SAVED_SEARCH_NOT_FOUND"
    SAVED_SEARCH_NAME_TAKEN = "SAVED_SEARCH_NAME_TAKEN"
    IMPORT_IMPOSSIBLE = "IMPORT_IMPOSSIBLE"
    BULK_ACTION_NOT_FOUND = "BULK_ACTION_NOT_FOUND"
    BULK_ACTION_NOT_ABORTABLE = "BULK_ACTION_NOT_ABORTABLE"
    BATCH_NOT_FOUND = "BATCH_NOT_FOUND"
    BATCH_NOT_ABORTABLE = "BATCH_NOT_ABORTABLE"
    CONFIRMATION_REQUIRED = "CONFIRMATION_REQUIRED"
    PARENT_ABORTED = "PARENT_ABORTED"
    TRIGGER_REFUSED = "TRIGGER_REFUSED"
    CODE_NOT_LOADED = "CODE_NOT_LOADED"
    FORBIDDEN = "FORBIDDEN"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    QUERY_TOO_SLOW = "QUERY_TOO_SLOW"


class TaskError(Exception):
    """A refusal: raised by the service, shown to whoever asked, never logged as a crash.

    ``message`` is a sentence for people, ``code`` is for programs, ``path`` names the argument that is wrong
    (camelCase segments from the mutation's input downwards, as in ``("input", "delaySeconds")``).
    """

    code: ErrorCode = ErrorCode.BAD_USER_INPUT

    def __init__(self, message: str, *, path: tuple[str, ...] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


class InvalidArgument(TaskError):
    """An argument is outside of what is allowed."""

    code = ErrorCode.BAD_USER_INPUT


@dataclass(frozen=True, slots=True)
class InputIssue:
    """One thing wrong with a task's input: where (path from the input's root), what, and which rule it broke."""

    path: tuple[str, ...]
    message: str
    type: str

    @property
    def words(self) -> str:
        """Where and what, as in ``root: Field required``."""
        return f"{'.'.join(self.path)}: {self.message}" if self.path else self.message


class InvalidTaskInput(TaskError):
    """The input does not fit the definition's schema; ``issues`` says where."""

    code = ErrorCode.INVALID_TASK_INPUT

    def __init__(self, definition_id: str, issues: tuple[InputIssue, ...]) -> None:
        told = "; ".join(issue.words for issue in issues[:TOLD_ISSUES])
        more = f" (and {len(issues) - TOLD_ISSUES} more)" if len(issues) > TOLD_ISSUES else ""
        super().__init__(
            f"The input does not fit the schema of '{definition_id}': {told}{more}. "
            f'taskDefinition(id: "{definition_id}") {{ inputSchema }} shows what is allowed.',
            path=("input", "input", *issues[0].path),
        )
        self.issues = issues


class TaskDefinitionNotFound(TaskError):
    """No definition of that id is published."""

    code = ErrorCode.TASK_DEFINITION_NOT_FOUND

    def __init__(self, definition_id: object, *, path: tuple[str, ...] = ("input", "definitionId")) -> None:
        super().__init__(
            f"There is no task definition '{str(definition_id)[:100]}'. taskDefinitions lists those there are. "
            "Workers and servers publish theirs when they start: the shipped ones, and those of the modules named in "
            "TASKLOOM_TASKS.",
            path=path,
        )
        self.definition_id = str(definition_id)


class TaskRunNotFound(TaskError):
    """No run has that id."""

    code = ErrorCode.TASK_RUN_NOT_FOUND

    def __init__(self, run_id: object, *, path: tuple[str, ...] = ("input", "id")) -> None:
        super().__init__(
            f"There is no task run '{str(run_id)[:100]}'. A run's id is the UUID that triggerTask returned.", path=path
        )
        self.run_id = str(run_id)


class ErrorGroupNotFound(TaskError):
    """No group of errors has that id."""

    code = ErrorCode.ERROR_GROUP_NOT_FOUND

    def __init__(self, id: object) -> None:
        super().__init__(
            f"There is no error group '{str(id)[:100]}'. errorGroups lists those there are; one that was not seen for "
            "a year is gone.",
            path=("id",),
        )


class ScheduleNotFound(TaskError):
    """No schedule has that id."""

    code = ErrorCode.SCHEDULE_NOT_FOUND

    def __init__(self, schedule_id: object) -> None:
        super().__init__(
            f"There is no schedule '{str(schedule_id)[:100]}'. schedules lists those there are.", path=("input", "id")
        )
        self.schedule_id = str(schedule_id)


class ScheduleConflict(TaskError):
    """Somebody else changed the schedule since it was read."""

    code = ErrorCode.SCHEDULE_CONFLICT

    def __init__(self, schedule_id: object, given: int, version: int, editor: str) -> None:
        super().__init__(
            f"Schedule {schedule_id} has version {version} by now, not {given}: {editor} changed it. "
            "Read it again, and repeat the change if it is still wanted.",
            path=("input", "version"),
        )
        self.schedule_id = str(schedule_id)
        self.version = version
        self.editor = editor


class TaskRunNotAbortable(TaskError):
    """The run is already final, so there is nothing to abort."""

    code = ErrorCode.TASK_RUN_NOT_ABORTABLE

    def __init__(self, run_id: object, status: str) -> None:
        super().__init__(f"Run {run_id} is {status}, which is final; only a run that is not final can be aborted.")
        self.run_id = str(run_id)
        self.status = status


class TaskRunNotFinal(TaskError):
    """The run is still live, so it cannot be run again from its last state."""

    code = ErrorCode.TASK_RUN_NOT_FINAL

    def __init__(self, run_id: object, status: str) -> None:
        super().__init__(
            f"Run {run_id} is {status}; only a final run can go on from its last state. "
            "Abort it first, or rerun it from START."
        )
        self.run_id = str(run_id)
        self.status = status


class IdempotencyConflict(TaskError):
    """The idempotency key was used before, with another input."""

    code = ErrorCode.IDEMPOTENCY_CONFLICT

    def __init__(self, key: str, run_id: object) -> None:
        super().__init__(
            f"The idempotency key '{key}' belongs to run {run_id}, which was triggered with another input. "
            "Use a new key for new work.",
            path=("input", "idempotencyKey"),
        )
        self.run_id = str(run_id)


class UniqueConflict(TaskError):
    """A live run holds the same unique key."""

    code = ErrorCode.UNIQUE_CONFLICT

    def __init__(self, key: str, run_id: object) -> None:
        super().__init__(
            f"Run {run_id} holds the unique key '{key}' and is not final yet. Wait for it, or abort it.",
            path=("input", "uniqueKey"),
        )
        self.run_id = str(run_id)


class LimitReached(TaskError):
    """The definition refuses triggers while one of its limits is full. ``retry_at`` is when it has room, if known."""

    code = ErrorCode.LIMIT_REACHED

    def __init__(
        self,
        definition_id: str,
        limit: str,
        key: str | None,
        retry_at: datetime | None,
        held: str = "they are there",
    ) -> None:
        whose = "" if key is None else f" with the key '{key}'"
        again = f"at {retry_at.isoformat(timespec='seconds')}" if retry_at else "when some of them have ended"
        super().__init__(
            f"'{definition_id}' allows {limit} of its runs{whose}, and {held}. Try again {again}.",
            path=("input", "definitionId"),
        )
        self.definition_id = definition_id
        self.key = key
        self.retry_at = retry_at


class QueueFull(TaskError):
    """The queue holds as many runs as it may. ``depth`` is how many wait in it, about; ``limit`` how many may."""

    code = ErrorCode.QUEUE_FULL

    def __init__(self, queue: str, depth: int, limit: int) -> None:
        super().__init__(
            f"Queue '{queue}' is full: about {counted(depth, 'run', 'wait')} in it, and it takes {limit} "
            "(TASKLOOM_QUEUE_LIMITS, TASKLOOM_MAX_QUEUED). Try again when workers have taken some of them up."
        )
        self.queue = queue
        self.depth = depth
        self.limit = limit


class BulkActionNotFound(TaskError):
    """No bulk action has that id."""

    code = ErrorCode.BULK_ACTION_NOT_FOUND

    def __init__(self, action_id: object) -> None:
        super().__init__(
            f"There is no bulk action '{str(action_id)[:100]}'. bulkActions lists those there are.",
            path=("input", "id"),
        )


class BulkActionNotAbortable(TaskError):
    """The bulk action has ended, so there is nothing to abort."""

    code = ErrorCode.BULK_ACTION_NOT_ABORTABLE

    def __init__(self, action_id: object, status: str) -> None:
        super().__init__(f"The bulk action {action_id} is {status}, so there is nothing left to abort.")


class BatchNotFound(TaskError):
    """No batch has that id."""

    code = ErrorCode.BATCH_NOT_FOUND

    def __init__(self, batch_id: object) -> None:
        super().__init__(
            f"There is no batch '{str(batch_id)[:100]}'. A batch's id is the UUID that came with its runs.",
            path=("input", "id"),
        )


class BatchNotAbortable(TaskError):
    """All runs of the batch are final, so there is nothing to abort."""

    code = ErrorCode.BATCH_NOT_ABORTABLE

    def __init__(self, batch_id: object) -> None:
        super().__init__(f"All runs of batch {batch_id} are final, so there is nothing left to abort.")


class ConfirmationRequired(TaskError):
    """What was asked for touches everything, and nobody has said that this is meant."""

    code = ErrorCode.CONFIRMATION_REQUIRED

    def __init__(self, message: str, path: tuple[str, ...]) -> None:
        super().__init__(message, path=path)


class ParentAborted(TaskError):
    """The parent was aborted, and all below it with it."""

    code = ErrorCode.PARENT_ABORTED

    def __init__(self, parent_id: object, status: str) -> None:
        super().__init__(
            f"Run {parent_id} is {status}, so it gets no more children. Trigger without 'parentId', or below a run "
            "that was not aborted.",
            path=("input", "parentId"),
        )
        self.run_id = str(parent_id)


class TriggerRefused(TaskError):
    """The definition's own ``before_trigger`` said no. Raise it there, with the reason as a sentence."""

    code = ErrorCode.TRIGGER_REFUSED


class CodeNotLoaded(TaskError):
    """The definition has a ``before_trigger`` and this process has not loaded the code that could run it."""

    code = ErrorCode.CODE_NOT_LOADED

    def __init__(self, definition_id: str, module: str) -> None:
        super().__init__(
            f"'{definition_id}' checks every trigger with its own code, which this process has not loaded. "
            f"Add '{module}' to TASKLOOM_TASKS of this process.",
            path=("input", "definitionId"),
        )


class ServiceUnavailable(TaskError):
    """The database does not answer."""

    code = ErrorCode.SERVICE_UNAVAILABLE

    def __init__(self, what: str | None = None) -> None:
        super().__init__(what or "The database does not answer; try again shortly.")
        self.tells_what_became = what is not None


class ServiceClosed(TaskError):
    """The service is used after its end."""

    code = ErrorCode.SERVICE_UNAVAILABLE

    def __init__(self) -> None:
        super().__init__(
            "This service is closed: its connect() block has ended. Use it within the block, or connect again."
        )


class FellBehind(TaskError):
    """Whoever follows all runs takes too few of those that change."""

    code = ErrorCode.SERVICE_UNAVAILABLE

    def __init__(self, runs: int) -> None:
        super().__init__(
            f"More than {runs:,} runs have changed that were not taken from here yet, so nothing more comes. "
            "Follow again, take the runs faster, or narrow the filter."
        )


class QueryTooSlow(TaskError):
    """The database took too long over a question, and was stopped."""

    code = ErrorCode.QUERY_TOO_SLOW

    def __init__(self) -> None:
        super().__init__(
            "The answer took the database too long (TASKLOOM_QUERY_SECONDS). Narrow the filter: by id, definition, "
            "status, queue, parent, tag or a range of time, which are indexed; names and JSON contents are not."
        )
