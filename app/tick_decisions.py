"""What becomes of a tick that is due: decided here, apart from all doing, and called by tests as a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.models import CatchUpPolicy, OverlapPolicy, PauseReason, TickOutcome, TickReason
from app.ticks import Timing

ON_TIME = timedelta(seconds=60)
"""A tick that is looked at no later than this is on time; catch-up decides about the others."""
MOST_WAITING = 1000
"""How many ticks of one schedule wait at the most."""
_INSTANT = timedelta(microseconds=1)
_PAUSES = {
    TickReason.TASK_DELETED: PauseReason.TASK_DELETED,
    TickReason.OWNER: PauseReason.OWNER,
    TickReason.FAILURES: PauseReason.FAILURES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A schedule as it stands when its next tick is looked at.

    ``waiting`` counts buffered ticks; ``failures`` the runs of ticks that failed in a row, up to ``max_failures``;
    ``objection`` is why its owner may not act.
    """

    schedule_id: UUID
    timing: Timing
    tick: datetime
    now: datetime
    overlap: OverlapPolicy = OverlapPolicy.SKIP
    catch_up: CatchUpPolicy = CatchUpPolicy.LAST
    window: timedelta = timedelta(days=1)
    max_failures: int | None = None
    failures: int = 0
    is_running: bool = False
    waiting: int = 0
    has_task: bool = True
    is_enabled: bool = True
    objection: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a tick; ``last`` is later than it where the line stands for several that were missed.

    ``next`` is the tick after it, None when there is none. ``aborts`` says that live runs are aborted first.
    """

    outcome: TickOutcome
    next: datetime | None
    last: datetime
    reason: TickReason | None = None
    message: str | None = None
    aborts: bool = False

    @property
    def pause(self) -> PauseReason | None:
        """Why the schedule is paused with this tick; None when it is not."""
        return _PAUSES.get(self.reason) if self.reason else None


def decide(standing: Standing) -> Decision:
    """What becomes of the next tick, or of the ticks up to the last one that is too late."""
    if objection := _objection(standing):
        return _skip(standing, *objection)
    missed = _missed(standing)
    if missed is not None:
        return missed
    if not standing.is_enabled:
        return _skip(standing, TickReason.TASK_DISABLED, "The task is disabled.")
    return _beside(standing)


def decide_waiting(standing: Standing) -> Decision:
    """What becomes of a tick that has waited, now that no run of its schedule is live."""
    if objection := _objection(standing):
        return _skip(standing, *objection)
    if not standing.is_enabled:
        return _skip(standing, TickReason.TASK_DISABLED, "The task is disabled.")
    return Decision(TickOutcome.RAN, None, standing.tick)


def _objection(standing: Standing) -> tuple[TickReason, str] | None:
    """Why the schedule is paused instead of running."""
    if not standing.has_task:
        return TickReason.TASK_DELETED, "The task was deleted."
    if standing.objection is not None:
        return TickReason.OWNER, standing.objection
    if standing.max_failures is not None and standing.failures >= standing.max_failures:
        several = f"The last {standing.failures} runs failed, one after the other."
        return TickReason.FAILURES, several if standing.failures > 1 else "The last run failed."
    return None


def _missed(standing: Standing) -> Decision | None:
    """The ticks that are given up because they are late, from this one on; None when this one may run."""
    timing, tick, now = standing.timing, standing.tick, standing.now
    late = now - timing.due_at(standing.schedule_id, tick)
    if late <= ON_TIME:
        return None
    within = ON_TIME if standing.catch_up is CatchUpPolicy.NONE else max(standing.window, ON_TIME)
    if late > within:
        last = max(tick, timing.last(now - within - timing.jitter - _INSTANT) or tick)
        return _give_up(standing, last, TickReason.TOO_LATE)
    if standing.catch_up is CatchUpPolicy.LAST and (newest := _newest_due(standing)) > tick:
        return _give_up(standing, timing.last(newest - _INSTANT) or tick, TickReason.CAUGHT_UP)
    return None


def _newest_due(standing: Standing) -> datetime:
    timing = standing.timing
    newest = timing.last(standing.now) or standing.tick
    while newest > standing.tick and timing.due_at(standing.schedule_id, newest) > standing.now:
        newest = timing.last(newest - _INSTANT) or standing.tick
    return newest


def _give_up(standing: Standing, last: datetime, reason: TickReason) -> Decision:
    message = "No worker was there in time." if reason is TickReason.TOO_LATE else "A later tick makes up for it."
    return Decision(TickOutcome.MISSED, standing.timing.next(last), last, reason, message)


def _skip(standing: Standing, reason: TickReason, message: str) -> Decision:
    following = None if reason in _PAUSES else standing.timing.next(standing.tick)
    return Decision(TickOutcome.SKIPPED, following, standing.tick, reason, message)


def _beside(standing: Standing) -> Decision:
    """The overlap policy's word."""
    following = standing.timing.next(standing.tick)
    busy = standing.is_running or standing.waiting > 0
    if not busy or standing.overlap in (OverlapPolicy.ALLOW_ALL, OverlapPolicy.ABORT_RUNNING):
        aborts = busy and standing.overlap is OverlapPolicy.ABORT_RUNNING
        return Decision(TickOutcome.RAN, following, standing.tick, aborts=aborts)
    if standing.overlap is OverlapPolicy.SKIP:
        return _skip(standing, TickReason.OVERLAP, "An earlier run of the schedule is not final yet.")
    room = 1 if standing.overlap is OverlapPolicy.BUFFER_ONE else MOST_WAITING
    if standing.waiting >= room:
        return _skip(standing, TickReason.BUFFER_FULL, f"{standing.waiting} earlier ticks wait already.")
    return Decision(TickOutcome.WAITING, following, standing.tick)
