"""The life of a run, told from what is stored of it: nothing is written down for each change of a status.

Each attempt keeps when it began and ended. It is not kept when a run that slept became due again, and whether it slept
at all between two attempts. Entries say where that is so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.states import FINAL, HELD, Outcome, Reason, Status


class TimelineEvent(StrEnum):
    """What happened to a run."""

    RERUN_OF = "RERUN_OF"
    TRIGGERED = "TRIGGERED"
    DUE = "DUE"
    STARTED = "STARTED"
    ENDED = "ENDED"
    ABORT_REQUESTED = "ABORT_REQUESTED"
    CHANGED = "CHANGED"
    RERUN = "RERUN"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One thing that happened to a run.

    ``status`` is the one that it got by that; of another run in the chain of reruns (``run_id``), its status as of now.
    With ``is_derived`` the time (of DUE) or the status (of ENDED) is worked out and not kept.
    """

    at: datetime
    event: TimelineEvent
    status: Status
    reason: Reason | None = None
    actor: str | None = None
    worker: str | None = None
    iteration: int | None = None
    attempt: int | None = None
    error: dict[str, Any] | None = None
    message: str | None = None
    run_id: UUID | None = None
    is_derived: bool = False


def tell(run: Any, attempts: Sequence[Any], origins: Sequence[Any], reruns: Sequence[Any]) -> list[TimelineEntry]:
    """The life of a run from its row, in the order in which things happened.

    Args:
        run: the run's row.
        attempts: its finished attempts (``task_iterations``), in order; the first ones may be missing.
        origins: the runs that it goes back to by reruns, the first one first.
        reruns: the runs that go back to it, in order of creation.
    """
    lived = [*_first_start(run, attempts), *_attempts(run, attempts), *_under_way(run)]
    told = [*_due(run), *_with_abort(run, attempts, lived)]
    return [
        *(_kin(TimelineEvent.RERUN_OF, origin) for origin in origins),
        TimelineEntry(at=run.created_at, event=TimelineEvent.TRIGGERED, status=_initial(run), actor=run.created_by),
        *told,
        *_latest(run, told),
        *(_kin(TimelineEvent.RERUN, rerun) for rerun in reruns),
    ]


def _kin(event: TimelineEvent, other: Any) -> TimelineEntry:
    reason = Reason(other.status_reason) if other.status_reason else None
    return TimelineEntry(
        at=other.created_at, event=event, status=Status(other.status), reason=reason, actor=other.created_by,
        run_id=other.id,
    )  # fmt: skip


def _initial(run: Any) -> Status:
    return Status.SCHEDULED if run.start_at > run.created_at or run.status == Status.SCHEDULED else Status.QUEUED


def _due(run: Any) -> list[TimelineEntry]:
    """When a run with a start time ahead became due; while it still waits in its queue, its row says when exactly."""
    over = run.started_at or (run.finished_at if run.finished_at and run.finished_at >= run.start_at else None)
    if run.start_at <= run.created_at or over is None:
        return []
    return [TimelineEntry(at=run.start_at, event=TimelineEvent.DUE, status=Status.QUEUED, is_derived=True)]


def _first_start(run: Any, attempts: Sequence[Any]) -> list[TimelineEntry]:
    """The first start, where the attempt that it belongs to is not among those that are kept."""
    first = attempts[0].started_at if attempts else run.claimed_at if run.status in HELD else None
    if run.started_at is None or first == run.started_at:
        return []
    return [TimelineEntry(at=run.started_at, event=TimelineEvent.STARTED, status=Status.RUNNING)]


def _attempts(run: Any, attempts: Sequence[Any]) -> list[TimelineEntry]:
    told: list[TimelineEntry] = []
    continued = max((n for n, row in enumerate(attempts) if row.outcome == Outcome.CONTINUED), default=None)
    for n, row in enumerate(attempts):
        named = {"worker": row.worker, "iteration": row.number, "attempt": row.attempt}
        told.append(TimelineEntry(at=row.started_at, event=TimelineEvent.STARTED, status=Status.RUNNING, **named))
        status, reason, is_derived = _landed(run, row, is_last=n == len(attempts) - 1)
        if n == continued and run.failure_policy is not None:
            # It is kept through the iteration after a wait for children, and only then.
            reason = reason if is_derived is False else Reason.WAITING_FOR_CHILDREN
        told.append(TimelineEntry(
            at=row.finished_at, event=TimelineEvent.ENDED, status=status, reason=reason, error=row.error,
            is_derived=is_derived, **named,
        ))  # fmt: skip
    return told


_LANDINGS = {
    Outcome.CONTINUED: (Status.WAITING, Reason.CONTINUED, True),
    Outcome.RETRIED: (Status.WAITING, Reason.RETRY, True),
    Outcome.INTERRUPTED: (Status.QUEUED, Reason.SHUTDOWN, False),
    Outcome.LOST: (Status.QUEUED, Reason.WORKER_LOST, False),
    Outcome.SUCCEEDED: (Status.SUCCEEDED, None, False),
    Outcome.FAILED: (Status.FAILED, None, False),
    Outcome.ABORTED: (Status.ABORTED, None, False),
}


def _landed(run: Any, attempt: Any, *, is_last: bool) -> tuple[Status, Reason | None, bool]:
    """The status and reason that the end of an attempt led to, and whether they are only worked out."""
    status, reason, is_derived = _LANDINGS[Outcome(attempt.outcome)]
    if is_last and run.status not in HELD:
        kept = Reason(run.status_reason) if run.status_reason else None
        if attempt.finished_at == run.status_changed_at:
            return Status(run.status), kept, False
        if run.status not in FINAL and kept is not None:
            # It has become due meanwhile, and goes on to give the reason for which it slept.
            return status, kept, is_derived
    return status, reason, is_derived


def _under_way(run: Any) -> list[TimelineEntry]:
    if run.status not in HELD:
        return []
    return [TimelineEntry(
        at=run.claimed_at, event=TimelineEvent.STARTED, status=Status.RUNNING, worker=run.worker,
        iteration=run.iteration, attempt=run.attempt,
    )]  # fmt: skip


def _with_abort(run: Any, attempts: Sequence[Any], lived: list[TimelineEntry]) -> list[TimelineEntry]:
    """With the wish to abort it while a worker held it; where none did, the end itself is the abort."""
    asked_at = run.abort_requested_at
    if asked_at is None:
        return lived
    held = run.status in HELD or any(row.started_at <= asked_at <= row.finished_at for row in attempts)
    if not held:
        return lived
    entry = TimelineEntry(
        at=asked_at, event=TimelineEvent.ABORT_REQUESTED, status=Status.ABORTING, reason=Reason.ABORT_REQUESTED,
        actor=run.abort_requested_by, message=run.abort_message,
    )  # fmt: skip
    before = [told for told in lived if told.at <= asked_at]
    return [*before, entry, *lived[len(before) :]]


def _latest(run: Any, told: Sequence[TimelineEntry]) -> list[TimelineEntry]:
    """How the run stands now, unless the end of an attempt or the trigger has told that already."""
    is_told = run.status_changed_at <= run.created_at or any(
        entry.status == run.status and entry.at == run.status_changed_at and not entry.is_derived for entry in told
    )
    if is_told or run.status in HELD:
        return []
    now = TimelineEntry(
        at=run.status_changed_at,
        event=TimelineEvent.CHANGED,
        status=Status(run.status),
        reason=Reason(run.status_reason) if run.status_reason else None,
    )
    if run.status != Status.ABORTED or run.abort_requested_at is None:
        return [replace(now, error=run.error if run.status == Status.FAILED else None)]
    return [replace(
        now, event=TimelineEvent.ABORT_REQUESTED, actor=run.abort_requested_by, message=run.abort_message
    )]  # fmt: skip
