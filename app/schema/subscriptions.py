"""The subscriptions: what can be followed live. Closing one ends its generator, and with it everything it held."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import strawberry

from app.logs import log_sequence
from app.schema.bulk import BulkSubscriptions
from app.schema.children import log_line
from app.schema.connections import given
from app.schema.context import Info
from app.schema.filters import TaskRunFilter, run_filter
from app.schema.logs import TaskLog
from app.schema.queries import RunId
from app.schema.runs import TaskRun


@strawberry.type(description="What can be followed live, over WebSocket (graphql-transport-ws) or server-sent events.")
class Subscription(BulkSubscriptions):
    """The root of all subscriptions."""

    @strawberry.subscription(
        description="A run: as it is now, then after every change; completes after its final status."
    )
    async def task_run_updated(self, info: Info, id: RunId) -> AsyncGenerator[TaskRun, None]:
        """Follow one run."""
        async with aclosing(info.context.service.watch(id)) as rows:
            async for row in rows:
                yield TaskRun.of(row)

    @strawberry.subscription(
        description="The log lines of a run, from the start or after a cursor; completes after the last line of a "
        "final run. A client that lost its connection goes on with the `cursor` of the last line it saw."
    )
    async def task_log_added(
        self,
        info: Info,
        run_id: RunId,
        after: Annotated[
            str | None, strawberry.argument(description="Only lines after this one: a TaskLog's `cursor`.")
        ] = strawberry.UNSET,
    ) -> AsyncGenerator[TaskLog, None]:
        """Follow one run's log."""
        cursor: str | None = given(after)
        start = log_sequence(cursor) if cursor is not None else 0
        async with aclosing(info.context.service.logs(run_id, after=start, follow=True)) as rows:
            async for row in rows:
                yield log_line(row)

    @strawberry.subscription(description="Every run that changes from now on, as it is after the change.")
    async def task_runs_changed(
        self,
        info: Info,
        filter: Annotated[
            TaskRunFilter | None, strawberry.argument(description="Only runs that fit after the change.")
        ] = strawberry.UNSET,
    ) -> AsyncGenerator[TaskRun, None]:
        """Follow all runs."""
        async with aclosing(info.context.service.watch_all(run_filter(filter))) as rows:
            async for row in rows:
                yield TaskRun.of(row)
