"""The words for what becomes of schedules and their ticks; no tables, for those who only look for what is due."""

from __future__ import annotations

from enum import StrEnum


class ScheduleStatus(StrEnum):
    """Whether a schedule ticks."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    ENDED = "ENDED"


class PauseReason(StrEnum):
    """Why a schedule is paused."""

    REQUESTED = "REQUESTED"
    FAILURES = "FAILURES"
    OWNER = "OWNER"
    TASK_DELETED = "TASK_DELETED"


class OverlapPolicy(StrEnum):
    """What a tick does while an earlier run of its schedule is not final."""

    SKIP = "SKIP"
    BUFFER_ONE = "BUFFER_ONE"
    BUFFER_ALL = "BUFFER_ALL"
    ABORT_RUNNING = "ABORT_RUNNING"
    ALLOW_ALL = "ALLOW_ALL"


class CatchUpPolicy(StrEnum):
    """What becomes of ticks that nobody was there for."""

    NONE = "NONE"
    LAST = "LAST"
    ALL = "ALL"


class TickOutcome(StrEnum):
    """What became of a tick."""

    RAN = "RAN"
    WAITING = "WAITING"
    SKIPPED = "SKIPPED"
    MISSED = "MISSED"


class TickReason(StrEnum):
    """Why a tick made no run."""

    OVERLAP = "OVERLAP"
    BUFFER_FULL = "BUFFER_FULL"
    PAUSED = "PAUSED"
    FAILURES = "FAILURES"
    OWNER = "OWNER"
    TASK_DISABLED = "TASK_DISABLED"
    TASK_DELETED = "TASK_DELETED"
    REFUSED = "REFUSED"
    TOO_LATE = "TOO_LATE"
    CAUGHT_UP = "CAUGHT_UP"
