"""The objects within a run: its error, its progress, its abort, its counts of log lines."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry

from app.schema.principals import Principal, principal_of


@strawberry.type(description="What went wrong in a run or in one of its attempts.")
class TaskRunError:
    """An error that task code raised, or that ended it."""

    type: str = strawberry.field(description="The name of the error's type, as in `ConnectionError`.")
    message: str = strawberry.field(description="The error's message.")
    traceback: str | None = strawberry.field(description="Where it was raised, as Python prints it; null without code.")

    @classmethod
    def of(cls, stored: dict[str, Any] | None) -> TaskRunError | None:
        """The error from its stored JSON."""
        if stored is None:
            return None
        type_, message = str(stored.get("type", "Error")), str(stored.get("message", ""))
        return cls(type=type_, message=message, traceback=stored.get("traceback"))


@strawberry.type(description="How far a run has come, as its code reported at the last checkpoint.")
class TaskRunProgress:
    """Progress in the unit that the code counts in."""

    current: float | None = strawberry.field(description="How much is done, in the unit that the task counts in.")
    total: float | None = strawberry.field(description="How much there is to do, in the same unit.")
    percent: float | None = strawberry.field(
        description="How much is done, in percent (0 to 100): as reported, else computed from `current` and `total`."
    )
    message: str | None = strawberry.field(description="What is being done, as words for people.")
    updated_at: datetime = strawberry.field(description="When the progress was reported.")

    @classmethod
    def of(cls, stored: dict[str, Any] | None, changed_at: datetime) -> TaskRunProgress | None:
        """The progress from its stored JSON; ``changed_at`` stands in for a time that was not stored."""
        if stored is None:
            return None
        current, total = stored.get("current"), stored.get("total")
        updated_at = datetime.fromisoformat(stored["updated_at"]) if stored.get("updated_at") else changed_at
        given = stored.get("percent")
        return cls(
            current=current,
            total=total,
            percent=given if given is not None else percentage(current, total),
            message=stored.get("message"),
            updated_at=updated_at,
        )


def percentage(current: float | None, total: float | None) -> float | None:
    """How much of the total is done, in percent within 0 to 100; None where that cannot be said."""
    if current is None or not total:
        return None
    return min(100.0, max(0.0, 100.0 * current / total))


@strawberry.type(description="A wish to abort a run.")
class AbortRequest:
    """Who asked to abort, when and why."""

    requested_at: datetime = strawberry.field(description="When the abort was first asked.")
    requested_by: Principal = strawberry.field(description="Who asked for it.")
    message: str | None = strawberry.field(description="Why, in the words of who asked.")
    is_forced: bool = strawberry.field(description="Whether the run is to end without waiting for its next checkpoint.")

    @classmethod
    def of(cls, row: dict[str, Any]) -> AbortRequest | None:
        """The abort from a run's columns."""
        if row["abort_requested_at"] is None:
            return None
        return cls(
            requested_at=row["abort_requested_at"],
            requested_by=principal_of(row["abort_requested_by"]),
            message=row["abort_message"],
            is_forced=row["abort_forced"],
        )


@strawberry.type(description="How many lines a run has logged, by level.")
class TaskLogCounts:
    """Counts kept on the run's row, so that reading them costs nothing."""

    debug: int = strawberry.field(description="Lines of level DEBUG.")
    info: int = strawberry.field(description="Lines of level INFO.")
    warning: int = strawberry.field(description="Lines of level WARNING.")
    error: int = strawberry.field(description="Lines of level ERROR.")
