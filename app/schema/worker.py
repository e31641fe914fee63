"""A live worker as clients see it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry


@strawberry.type(description="A worker process that is alive: it executes runs.")
class Worker:
    """A worker process."""

    id: UUID = strawberry.field(
        graphql_type=strawberry.ID, description="A UUID that is new at every start of the process."
    )
    host: str = strawberry.field(description="The name of its machine.")
    pid: int = strawberry.field(description="Its process id on that machine.")
    queues: list[str] = strawberry.field(description="The queues that it takes runs from.")
    definition_ids: list[strawberry.ID] = strawberry.field(description="The definitions whose code it has loaded.")
    capacity: int = strawberry.field(description="How many runs it executes at a time, at most.")
    running: int = strawberry.field(description="How many runs it executes now.")
    started_at: datetime = strawberry.field(description="When it started.")
    last_seen_at: datetime = strawberry.field(description="When it last gave a sign of life.")
    is_draining: bool = strawberry.field(description="Whether it is shutting down: it takes no more runs.")

    @classmethod
    def of(cls, row: Any) -> Worker:
        """The worker from its row."""
        return cls(
            id=row.id,
            host=row.host,
            pid=row.pid,
            queues=row.queues,
            definition_ids=row.definition_ids,
            capacity=row.capacity,
            running=row.running,
            started_at=row.started_at,
            last_seen_at=row.last_seen_at,
            is_draining=row.is_draining,
        )
