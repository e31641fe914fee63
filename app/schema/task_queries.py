"""The queries on saved tasks."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import strawberry
from strawberry import UNSET

from app.schema.arguments import given_id
from app.schema.connections import After, Before, Connection, First, Last, Total, connection, given, page_args
from app.schema.context import Info
from app.schema.principals import Principal, principal_of
from app.schema.saved_tasks import Task, load_task, read_ahead
from app.schema.task_filters import TaskFilter, TaskOrder, task_order, task_question
from app.schema.task_words import TaskQuickFilter

Prefix = Annotated[str, strawberry.argument(description="What they begin with, in upper or lower case.")]
Number = Annotated[int, strawberry.argument(description="How many at most: 1 to 50.")]


@strawberry.type
class SavedTaskQueries:
    """What can be read of saved tasks."""

    @strawberry.field(
        description="One saved task; null when there is none of that id. Text that is no UUID is refused."
    )
    async def task(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the task: a UUID.")]
    ) -> Task | None:
        """A task by its id."""
        return await load_task(info, given_id(id, "id"))

    @strawberry.field(description="Saved tasks: by name, or those that fit `search` best first.")
    async def tasks(
        self,
        info: Info,
        filter: Annotated[TaskFilter | None, strawberry.argument(description="Only tasks that fit.")] = UNSET,
        order_by: Annotated[TaskOrder | None, strawberry.argument(description="The order.")] = UNSET,
        search: Annotated[
            str | None,
            strawberry.argument(
                description="Words in names and descriptions: their beginnings will do, and typing errors are forgiven."
            ),
        ] = UNSET,
        quick: Annotated[
            TaskQuickFilter | None, strawberry.argument(description="One of the everyday questions.")
        ] = UNSET,
        time_zone: Annotated[
            str, strawberry.argument(description="Where `FAILED_TODAY` begins at midnight: an IANA name.")
        ] = "UTC",
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
    ) -> Connection[Task]:
        """A page of tasks."""
        saved, principal = info.context.service.saved, info.context.principal
        question = task_question(filter, search, quick, time_zone)
        page = await saved.list(question, task_order(given(order_by)), page_args(first, after, last, before), principal)
        total = Total(partial(saved.count, question, principal), info.context.loaders.counts.limit)
        shown = connection(page, Task.of, total)
        await read_ahead(info, shown.nodes)
        return shown

    @strawberry.field(description="Tags of saved tasks, the most used first, to complete what somebody types.")
    async def tag_suggestions(self, info: Info, prefix: Prefix, first: Number = 10) -> list[str]:
        """Tags by their beginning."""
        return await info.context.service.saved.tag_suggestions(prefix, first)

    @strawberry.field(description="Owners of saved tasks, those of most tasks first, to complete what somebody types.")
    async def owner_suggestions(self, info: Info, prefix: Prefix, first: Number = 10) -> list[Principal]:
        """Owners by the beginning of their ids."""
        return [principal_of(owner) for owner in await info.context.service.saved.owner_suggestions(prefix, first)]
