"""The enums of the schema: the application's own, with a description for every value."""

from __future__ import annotations

from enum import StrEnum

import strawberry
from strawberry.types.enum import has_enum_definition

from app.auth import PrincipalKind
from app.errors import ErrorCode
from app.limits import WhenFull
from app.models import TaskLogLevel
from app.service import UniquePolicy
from app.states import TaskIterationOutcome, TaskRunStatus, TaskRunStatusReason


def describe(enum: type[StrEnum], description: str, values: dict[str, str], *, name: str | None = None) -> None:
    """Make a plain enum one of the schema's, under its own name or another, with a description for each value.

    Raises ``KeyError`` when one is missing, so that a new value cannot go undescribed.
    """
    strawberry.enum(enum, name=name, description=description)
    assert has_enum_definition(enum)
    for value in enum.__strawberry_definition__.values:
        value.description = values[value.name]


describe(
    TaskRunStatus,
    "Where a run stands. SUCCEEDED, FAILED, ABORTED, LOST and EXPIRED are final: such a run never changes again.",
    {
        "SCHEDULED": "Not started yet; its start time lies ahead, or the run that it replaces has not stopped yet.",
        "QUEUED": "Due; any worker of its queue may take it.",
        "RUNNING": "A worker executes it.",
        "WAITING": "Started before and asleep now: until its next iteration, a retry, or the end of its children.",
        "ABORTING": "An abort was asked while a worker held it; it stops at its next checkpoint.",
        "SUCCEEDED": "Its code returned a result.",
        "FAILED": "Its code failed and is not tried again.",
        "ABORTED": "It was stopped by an abort.",
        "LOST": "Its workers vanished more often than its budget of interruptions allows.",
        "EXPIRED": "Its time to live passed before it was started.",
    },
)
describe(
    TaskRunStatusReason,
    "Why a run stands where it stands.",
    {
        "CONTINUED": "Its code ended an iteration and goes on in the next one.",
        "RETRY": "An attempt failed; another one follows.",
        "RETRY_LATER": "Its code asked to be tried again later.",
        "WAITING_FOR_CHILDREN": "It goes on when all of the runs it waits for are final.",
        "SHUTDOWN": "Its worker was shut down and gave it back; no attempt was used up.",
        "WORKER_LOST": "Its worker stopped answering.",
        "ERROR": "Its code raised an error that is not retried.",
        "TIMEOUT": "An attempt took longer than its timeout.",
        "INVALID_INPUT": "Its stored input no longer fits the definition's schema.",
        "INVALID_OUTPUT": "Its code returned something that is not JSON, does not fit its type, or is too large.",
        "MAX_ATTEMPTS": "All attempts failed.",
        "MAX_ITERATIONS": "It went on for more iterations than it may.",
        "MAX_INTERRUPTIONS": "It was interrupted more often than it may be.",
        "ABORT_REQUESTED": "Somebody asked to abort it.",
        "ABORT_FORCED": "It was ended by force, without its code's consent.",
        "FINISHED_BEFORE_ABORT": "It succeeded before it saw the abort.",
        "TTL": "Its time to live passed before it was started.",
        "CONCURRENCY_LIMIT": "As many runs as its definition, or its limit key, allows at once are executed.",
        "RATE_LIMIT": "As many runs as its definition, or its limit key, allows in a time have started.",
        "CHILD_FAILED": "A run that it waited for did not succeed, and it fails with it; the error names that run.",
    },
)
describe(
    TaskIterationOutcome,
    "How one attempt at one iteration ended.",
    {
        "SUCCEEDED": "The code returned the run's result.",
        "CONTINUED": "The code saved its state for the next iteration.",
        "RETRIED": "The attempt failed; another one follows.",
        "FAILED": "The attempt failed and ended the run.",
        "ABORTED": "The attempt was stopped by an abort.",
        "INTERRUPTED": "The worker shut down and gave the run back.",
        "LOST": "The worker stopped answering.",
    },
)
describe(
    TaskLogLevel,
    "How much a log line matters.",
    {
        "DEBUG": "For whoever looks for a fault.",
        "INFO": "What happens in the normal course.",
        "WARNING": "Something unusual that does not stop the run.",
        "ERROR": "Something failed.",
    },
)
describe(
    PrincipalKind,
    "What sort of principal acts.",
    {
        "USER": "A person.",
        "SERVICE": "Another program, with a token of its own.",
        "SYSTEM": "Taskloom itself.",
        "RUN": "A run, acting through its task code.",
        "SCHEDULE": "A schedule, at one of its ticks.",
    },
)
describe(
    ErrorCode,
    "The code of a refusal, for programs to act on.",
    {
        "BAD_USER_INPUT": "An argument is outside of what is allowed.",
        "INVALID_TASK_INPUT": "The input does not fit the definition's schema.",
        "TASK_DEFINITION_NOT_FOUND": "There is no task definition of that id.",
        "TASK_RUN_NOT_FOUND": "There is no run of that id.",
        "ERROR_GROUP_NOT_FOUND": "There is no error group of that id.",
        "TASK_NOT_FOUND": "There is no saved task of that id.",
        "SCHEDULE_NOT_FOUND": "There is no schedule of that id.",
        "SCHEDULE_CONFLICT": "Somebody else changed the schedule since it was read.",
        "TASK_RUN_NOT_ABORTABLE": "The run is final, so there is nothing to abort.",
        "TASK_RUN_NOT_FINAL": "The run is not final yet.",
        "IDEMPOTENCY_CONFLICT": "The idempotency key was used before, with another input.",
        "UNIQUE_CONFLICT": "A run that is not final holds the same unique key.",
        "LIMIT_REACHED": "The definition refuses triggers while one of its limits is full.",
        "QUEUE_FULL": "The queue holds as many runs as it may.",
        "TASK_CONFLICT": "Somebody else has changed the task meanwhile.",
        "TASK_NAME_TAKEN": "Another task of the group has that name.",
        "TASK_DISABLED": "The task is disabled.",
        "TASK_REVISION_NOT_FOUND": "The task has no revision of that number.",
        "COOLDOWN_ACTIVE": "The definition's cooldown since the last execution is not over.",
        "SAVED_SEARCH_NOT_FOUND": "There is no saved search of that id that is yours.",
        "SAVED_SEARCH_NAME_TAKEN": "You have a saved search of that name already.",
        "IMPORT_IMPOSSIBLE": "Some of the tasks cannot be imported, so none was.",
        "BULK_ACTION_NOT_FOUND": "There is no bulk action of that id.",
        "BULK_ACTION_NOT_ABORTABLE": "The bulk action has ended, so there is nothing to abort.",
        "BATCH_NOT_FOUND": "There is no batch of that id.",
        "BATCH_NOT_ABORTABLE": "All runs of the batch are final, so there is nothing to abort.",
        "CONFIRMATION_REQUIRED": "It touches everything, and nobody has said that this is meant.",
        "PARENT_ABORTED": "The parent was aborted, so it gets no more children.",
        "TRIGGER_REFUSED": "The definition's own check refused the trigger.",
        "CODE_NOT_LOADED": "The definition checks triggers with code that this server has not loaded.",
        "FORBIDDEN": "The principal may not do this.",
        "SERVICE_UNAVAILABLE": "The database does not answer; try again shortly.",
        "QUERY_TOO_SLOW": "The database took too long over a question; narrow the filter.",
    },
)
describe(
    WhenFull,
    "What becomes of a trigger that meets a limit of its definition.",
    {
        "QUEUE": "The run waits until there is room.",
        "REJECT": "The trigger is refused with LIMIT_REACHED, and nothing is stored.",
        "ABORT_OLDEST": "The oldest runs above the limit are aborted for the new one, but none that it belongs to.",
    },
)
describe(
    UniquePolicy,
    "What becomes of a trigger while a run that is not final holds its unique key.",
    {
        "REJECT": "The trigger is refused with UNIQUE_CONFLICT.",
        "RETURN_EXISTING": "The trigger answers with that run, and nothing is stored.",
        "REPLACE": "That run is aborted, children included; the new one takes its key and starts when it has stopped.",
    },
)

__all__ = [
    "ErrorCode",
    "PrincipalKind",
    "TaskIterationOutcome",
    "TaskLogLevel",
    "TaskRunStatus",
    "TaskRunStatusReason",
    "UniquePolicy",
    "WhenFull",
    "describe",
]
