"""A task definition as clients see it: as published by the processes that loaded its code."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry import UNSET
from strawberry.scalars import JSON

from app.schema.children import runs_below
from app.schema.connections import After, Before, Connection, First, Last, page_args
from app.schema.context import Info
from app.schema.filters import RunsInOrder, RunsThatFit, run_filter, run_order
from app.schema.runs import TaskRun
from app.schema.task_words import Triggers
from app.schema.vocabulary import WhenFull


@strawberry.type(description="How many runs of a definition execute at once, and how often they start.")
class TaskLimits:
    """Limits of the whole definition and of each key; null where nothing is limited."""

    max_concurrency: int | None = strawberry.field(description="How many of its runs execute at once.")
    rate: str | None = strawberry.field(description="How many of its runs start in any window, as in `60/minute`.")
    key: str | None = strawberry.field(description="A JMESPath expression over the input: what divides the runs.")
    max_concurrency_per_key: int | None = strawberry.field(description="How many runs of one key execute at once.")
    rate_per_key: str | None = strawberry.field(description="How many runs of one key start in any window.")
    when_full: WhenFull = strawberry.field(description="What becomes of a trigger that meets a limit.")

    @classmethod
    def of(cls, published: dict[str, Any] | None) -> TaskLimits | None:
        """The limits from their published JSON."""
        if published is None:
            return None
        values: dict[str, Any] = {**published, "when_full": WhenFull(published["when_full"])}
        return cls(**values)


@strawberry.type(description="A kind of work that can be triggered, registered in Python code.")
class TaskDefinition:
    """A definition."""

    id: strawberry.ID = strawberry.field(description="The definition's id: a kebab-case slug, as in `checksum-tree`.")
    title: str = strawberry.field(description="What people call it.")
    description: str | None = strawberry.field(description="What it does, in words.")
    input_schema: JSON = strawberry.field(description="The JSON Schema (2020-12) that an input has to fit.")
    output_schema: JSON | None = strawberry.field(
        description="The JSON Schema (2020-12) of what a successful run returns; null when that is not declared."
    )
    version: str = strawberry.field(description="A hash that changes whenever the definition does.")
    queue: str = strawberry.field(description="The queue that its runs go to unless a trigger says otherwise.")
    priority: int = strawberry.field(description="The priority of its runs unless a trigger says otherwise.")
    tags: list[str] = strawberry.field(description="Words to find it by.")
    max_iterations: int = strawberry.field(description="How many iterations a run may have.")
    max_attempts: int = strawberry.field(description="How many attempts each iteration may have by default.")
    timeout_seconds: float | None = strawberry.field(
        description="The longest time for one attempt by default, in seconds; null is no limit."
    )
    limits: TaskLimits | None = strawberry.field(
        description="How many of its runs execute at once, and how often they start; null is no limit."
    )
    triggers: Triggers = strawberry.field(description="What it is meant to be triggered by.")
    cooldown_seconds: float | None = strawberry.field(
        description="How long after a trigger the next one is refused, in seconds: of each saved task by itself, and "
        "of the runs without a task together; null is no cooldown."
    )
    category: str | None = strawberry.field(description="What people look for it under.")

    @classmethod
    def of(cls, row: Any) -> TaskDefinition:
        """The definition from its row."""
        return cls(
            id=row.id,
            title=row.title,
            description=row.description,
            input_schema=row.input_schema,
            output_schema=row.output_schema,
            version=row.version,
            queue=row.queue,
            priority=row.priority,
            tags=row.tags,
            max_iterations=row.max_iterations,
            max_attempts=row.max_attempts,
            timeout_seconds=row.timeout_seconds,
            limits=TaskLimits.of(row.limits),
            triggers=Triggers(row.triggers),
            cooldown_seconds=row.cooldown_seconds,
            category=row.category,
        )

    @strawberry.field(
        description="Whether a live worker has its code and serves its queue: runs of it are executed now."
    )
    async def is_available(self, info: Info) -> bool:
        """Found once for all definitions of an answer."""
        return self.id in await info.context.loaders.available()

    @strawberry.field(description="The runs of this definition, newest first unless ordered otherwise.")
    async def runs(
        self,
        info: Info,
        filter: RunsThatFit = UNSET,
        order_by: RunsInOrder = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[TaskRun]:
        """A page of runs."""
        page = page_args(first, after, last, before)
        return await runs_below(info, "definition_id", self.id, run_filter(filter), run_order(order_by), page)
