"""The state machine of a run, all of it, and pure: which statuses there are, which are final, and every allowed move.

A status is decided here and nowhere else. The SQL that applies a move, in ``app.runs`` and ``app.leases``, compares and
sets, so that a move whose source no longer holds changes nothing.

Durations are passed instead of points in time wherever a lease or a due time is computed: the database's clock is the
only one that all processes share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


class TaskRunStatus(StrEnum):
    """Where a run stands."""

    SCHEDULED = "SCHEDULED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    ABORTING = "ABORTING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"
    LOST = "LOST"
    EXPIRED = "EXPIRED"


class TaskRunStatusReason(StrEnum):
    """Why a run stands where it stands; explains a status, drives nothing."""

    CONTINUED = "CONTINUED"
    RETRY = "RETRY"
    RETRY_LATER = "RETRY_LATER"
    WAITING_FOR_CHILDREN = "WAITING_FOR_CHILDREN"
    SHUTDOWN = "SHUTDOWN"
    WORKER_LOST = "WORKER_LOST"
    ERROR = "ERROR"
    TIMEOUT = "TIMEOUT"
    INVALID_INPUT = "INVALID_INPUT"
    INVALID_OUTPUT = "INVALID_OUTPUT"
    MAX_ATTEMPTS = "MAX_ATTEMPTS"
    MAX_ITERATIONS = "MAX_ITERATIONS"
    MAX_INTERRUPTIONS = "MAX_INTERRUPTIONS"
    ABORT_REQUESTED = "ABORT_REQUESTED"
    ABORT_FORCED = "ABORT_FORCED"
    FINISHED_BEFORE_ABORT = "FINISHED_BEFORE_ABORT"
    TTL = "TTL"
    CONCURRENCY_LIMIT = "CONCURRENCY_LIMIT"
    RATE_LIMIT = "RATE_LIMIT"
    CHILD_FAILED = "CHILD_FAILED"


class TaskIterationOutcome(StrEnum):
    """How one attempt at one iteration ended."""

    SUCCEEDED = "SUCCEEDED"
    CONTINUED = "CONTINUED"
    RETRIED = "RETRIED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"
    INTERRUPTED = "INTERRUPTED"
    LOST = "LOST"


class FailurePolicy(StrEnum):
    """What a run does when one of the runs that it waits for ends otherwise than SUCCEEDED.

    ``CONTINUE``: it goes on when all are final, and sees how each ended.
    ``IGNORE``: it goes on when all are final, and ``ctx.children()`` leaves out those that did not succeed.
    ``FAIL_PARENT``: it fails with the first of them, without another iteration, and its other children are aborted.
    """

    CONTINUE = "CONTINUE"
    IGNORE = "IGNORE"
    FAIL_PARENT = "FAIL_PARENT"


Status = TaskRunStatus
Reason = TaskRunStatusReason
Outcome = TaskIterationOutcome

FINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.ABORTED, Status.LOST, Status.EXPIRED})
LIVE = frozenset(Status) - FINAL
UNSUCCESSFUL = FINAL - {Status.SUCCEEDED}
"""What a failure policy calls a failure, whatever it came from."""
VERDICTS = (Status.SUCCEEDED, Status.FAILED, Status.LOST, Status.EXPIRED)
"""The final statuses that say whether a task works; an abort does not."""
FAILURES = frozenset({Status.FAILED, Status.LOST})
"""What is grouped by its error: neither an abort, which somebody wanted, nor a run that expired before it started."""
HELD = frozenset({Status.RUNNING, Status.ABORTING})
"""The statuses in which one worker holds the lease."""
ASLEEP = frozenset({Status.SCHEDULED, Status.WAITING})
"""The statuses that the dispatcher ends when the run is due."""
UNHELD = LIVE - HELD
BARREN = frozenset({Status.ABORTING, Status.ABORTED})
"""The statuses in which a run gets no more children: an abort takes them along, and none may come after it."""


@dataclass(frozen=True, slots=True)
class RunError:
    """What went wrong in a run, as it is stored: the type's name, its message, and a traceback where there is one."""

    type: str
    message: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Landing:
    """Where a move ends: the status, its reason, and the outcome recorded for the attempt that the move closes."""

    status: TaskRunStatus
    reason: TaskRunStatusReason | None = None
    outcome: TaskIterationOutcome | None = None


@dataclass(slots=True)
class Move:
    """One allowed change of a run's status, with everything that changes beside it.

    ``landing`` holds unless the run stands in ABORTING, where ``when_aborting`` does (an acknowledged abort is never
    followed by a new attempt), or has used up its interruptions, where ``when_exhausted`` does. With ``keeps_reason``
    the run goes on to give the reason that it gave before.
    ``delay`` is in seconds from the database's now; ``output`` is JSON text.
    """

    name: str
    sources: frozenset[TaskRunStatus]
    landing: Landing
    when_aborting: Landing | None = None
    when_exhausted: Landing | None = None
    delay: float = 0.0
    output: str | None = None
    error: RunError | None = None
    next_iteration: bool = False
    next_attempt: bool = False
    wait_for: tuple[UUID, ...] = ()
    keeps_reason: bool = False
    failure_policy: FailurePolicy | None = None

    @property
    def is_final(self) -> bool:
        """Whether the run is over after this move (from ABORTING it may be even when it is not from RUNNING)."""
        return self.landing.status in FINAL

    @property
    def is_interruption(self) -> bool:
        """Whether the move is nobody's failure, and so counts as an interruption instead of an attempt."""
        return self.when_exhausted is not None

    def land(
        self,
        status: TaskRunStatus,
        reason: TaskRunStatusReason | None = None,
        *,
        interruptions: int = 0,
        max_interruptions: int = 0,
    ) -> Landing:
        """The landing from a status and its reason, or ``IllegalMove``: the rule that the SQL follows, in Python."""
        if status not in self.sources:
            raise IllegalMove(self.name, status)
        if status is Status.ABORTING and self.when_aborting:
            return self.when_aborting
        if self.when_exhausted and interruptions >= max_interruptions:
            return self.when_exhausted
        return replace(self.landing, reason=reason) if self.keeps_reason else self.landing


class IllegalMove(Exception):
    """A move was asked from a status that does not allow it."""

    def __init__(self, move: str, status: TaskRunStatus) -> None:
        super().__init__(f"a run that is {status} cannot {move}")


_ABORTED = Landing(Status.ABORTED, Reason.ABORT_REQUESTED, Outcome.ABORTED)
_SUCCEEDED = Landing(Status.SUCCEEDED, None, Outcome.SUCCEEDED)
_FAILED_WITH_CHILD = Landing(Status.FAILED, Reason.CHILD_FAILED)
_FINISHED_BEFORE_ABORT = Landing(Status.SUCCEEDED, Reason.FINISHED_BEFORE_ABORT, Outcome.SUCCEEDED)


def initial(start_at: datetime, now: datetime, *, waits: bool = False) -> TaskRunStatus:
    """The status a new run is stored with: SCHEDULED while its start lies in the future, or while it ``waits`` for the
    end of the run that it replaces; else QUEUED.
    """
    return Status.SCHEDULED if waits or start_at > now else Status.QUEUED


def become_due() -> Move:
    """The time that the run slept for is over, or the runs it waited for are final; the reason still says which."""
    return Move("become due", ASLEEP, Landing(Status.QUEUED), keeps_reason=True)


def claim() -> Move:
    """A worker takes the lease."""
    return Move("be claimed", frozenset({Status.QUEUED}), Landing(Status.RUNNING))


def succeed(output: str | None) -> Move:
    """The code returned a result; when an abort was asked meanwhile, the reason says that it came too late."""
    return Move("succeed", HELD, _SUCCEEDED, _FINISHED_BEFORE_ABORT, output=output)


def fail(error: RunError, reason: TaskRunStatusReason) -> Move:
    """The run ends with an error and is not tried again."""
    return Move("fail", HELD, Landing(Status.FAILED, reason, Outcome.FAILED), error=error)


def retry(error: RunError, delay: float, reason: TaskRunStatusReason = Reason.RETRY) -> Move:
    """The attempt failed; the next one is due after ``delay`` seconds."""
    return Move(
        "retry", HELD, _asleep(delay, reason, Outcome.RETRIED), _ABORTED, delay=delay, error=error, next_attempt=True
    )


def continue_(delay: float) -> Move:
    """The iteration is done; the next one is due after ``delay`` seconds."""
    landing = _asleep(delay, Reason.CONTINUED, Outcome.CONTINUED)
    return Move("continue", HELD, landing, _ABORTED, delay=delay, next_iteration=True)


def wait(children: tuple[UUID, ...], policy: FailurePolicy = FailurePolicy.CONTINUE) -> Move:
    """The iteration is done; the next one is due when every one of these runs is final, if the policy lets it."""
    landing = Landing(Status.WAITING, Reason.WAITING_FOR_CHILDREN, Outcome.CONTINUED)
    return Move(
        "wait for children", HELD, landing, _ABORTED, next_iteration=True, wait_for=children, failure_policy=policy
    )  # fmt: skip


def fail_with_child(error: RunError) -> Move:
    """One of the runs that it waits for under ``FAIL_PARENT`` did not succeed; ``error`` names that run."""
    return Move("fail with a child", frozenset({Status.WAITING}), _FAILED_WITH_CHILD, error=error)


def interrupt() -> Move:
    """The worker shuts down and gives the run back; no attempt is used up."""
    return Move(
        "be interrupted",
        HELD,
        Landing(Status.QUEUED, Reason.SHUTDOWN, Outcome.INTERRUPTED),
        _ABORTED,
        Landing(Status.LOST, Reason.MAX_INTERRUPTIONS, Outcome.INTERRUPTED),
    )


def expire_lease() -> Move:
    """The worker stopped renewing its lease; the run goes to another one while its budget of interruptions lasts."""
    return Move(
        "lose its lease",
        HELD,
        Landing(Status.QUEUED, Reason.WORKER_LOST, Outcome.LOST),
        Landing(Status.ABORTED, Reason.ABORT_REQUESTED, Outcome.LOST),
        Landing(Status.LOST, Reason.WORKER_LOST, Outcome.LOST),
    )


def ask_abort() -> Move:
    """An abort is asked while a worker holds the run: it takes effect at the next checkpoint."""
    return Move("be asked to abort", frozenset({Status.RUNNING}), Landing(Status.ABORTING, Reason.ABORT_REQUESTED))


def abort() -> Move:
    """An abort takes effect at once, because no worker holds the run."""
    return Move("abort", UNHELD, Landing(Status.ABORTED, Reason.ABORT_REQUESTED))


def acknowledge_abort() -> Move:
    """The code reached a checkpoint and stopped there."""
    return Move("acknowledge an abort", frozenset({Status.ABORTING}), _ABORTED)


def force_abort() -> Move:
    """The grace time is over, or the abort was asked with force: the run is ended without its code's consent."""
    landing = Landing(Status.ABORTED, Reason.ABORT_FORCED, Outcome.ABORTED)
    return Move("be aborted by force", frozenset({Status.ABORTING}), landing)


def expire() -> Move:
    """The run's time to live passed before it was started."""
    return Move("expire", frozenset({Status.SCHEDULED, Status.QUEUED}), Landing(Status.EXPIRED, Reason.TTL))


def _asleep(delay: float, reason: TaskRunStatusReason, outcome: TaskIterationOutcome) -> Landing:
    """WAITING for a delay; without one the run is due at once, and a detour over the dispatcher only costs time."""
    return Landing(Status.WAITING if delay > 0 else Status.QUEUED, reason, outcome)
