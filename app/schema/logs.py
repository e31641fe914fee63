"""Log lines and iterations as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from app.schema.run_parts import TaskRunError
from app.schema.vocabulary import TaskIterationOutcome, TaskLogLevel


@strawberry.type(description="One line that a run wrote to its log.")
class TaskLog:
    """A line, numbered within its run without gaps."""

    run_id: UUID = strawberry.field(graphql_type=strawberry.ID, description="The id of the run that wrote it.")
    sequence: int = strawberry.field(description="The number of the line within its run, from 1, without gaps.")
    iteration: int = strawberry.field(description="The iteration that wrote it, from 1.")
    attempt: int = strawberry.field(description="The attempt that wrote it, from 1.")
    level: TaskLogLevel = strawberry.field(description="How much it matters.")
    message: str = strawberry.field(description="The line's text.")
    data: JSON | None = strawberry.field(description="What the code attached to the line: a JSON object, or null.")
    created_at: datetime = strawberry.field(description="When it was written, by the clock of its worker.")
    cursor: str = strawberry.field(
        description="The place of the line in its run's log: pass it as `after` to go on behind it."
    )

    @classmethod
    def of(cls, row: Any, cursor: str) -> TaskLog:
        """The line from its row."""
        return cls(
            run_id=row.run_id,
            sequence=row.sequence,
            iteration=row.iteration,
            attempt=row.attempt,
            level=row.level,
            message=row.message,
            data=row.data,
            created_at=row.created_at,
            cursor=cursor,
        )


@strawberry.type(description="One attempt at one iteration of a run; the one under way comes last.")
class TaskIteration:
    """An attempt, finished or under way."""

    number: int = strawberry.field(description="The number of the iteration, from 1.")
    attempt: int = strawberry.field(description="Which attempt at this iteration it is, from 1.")
    worker: str | None = strawberry.field(description="The worker that executed it, as `host:pid`.")
    started_at: datetime = strawberry.field(description="When it started.")
    finished_at: datetime | None = strawberry.field(description="When it ended; null while it is under way.")
    outcome: TaskIterationOutcome | None = strawberry.field(description="How it ended; null while it is under way.")
    error: TaskRunError | None = strawberry.field(description="What went wrong; null when nothing did.")

    @classmethod
    def of(cls, row: Any) -> TaskIteration:
        """The iteration from its row."""
        return cls(
            number=row.number,
            attempt=row.attempt,
            worker=row.worker,
            started_at=row.started_at,
            finished_at=row.finished_at,
            outcome=row.outcome,
            error=TaskRunError.of(row.error),
        )
