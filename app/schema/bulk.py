"""Bulk actions as clients see them, and what can be read and followed of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import strawberry
from strawberry import UNSET

from app.bulk_actions import MAX_ERRORS
from app.models import BulkActionKind, BulkActionStatus
from app.schema.arguments import given_id
from app.schema.batches import Batch
from app.schema.connections import After, Before, Connection, First, Last, Total, connection, page_args
from app.schema.context import Info
from app.schema.principals import Principal, principal_of
from app.schema.refusals import ConfirmationRequired, InvalidArgument
from app.schema.runs import TaskRun, load_run
from app.schema.saved_tasks import Task
from app.schema.vocabulary import ErrorCode, describe

describe(
    BulkActionKind,
    "What a bulk action does to each of its items.",
    {
        "ABORT_RUNS": "Aborts runs.",
        "RERUN_RUNS": "Triggers runs again.",
        "DELETE_RUNS": "Deletes final runs with their logs.",
        "STOP_ALL": "Aborts every run that is not final, and ends all other bulk actions.",
        "CLEAR_EXECUTIONS": "Deletes final runs with their logs; live runs stay.",
        "EXECUTE_TASKS": "Executes saved tasks.",
        "UPDATE_TASKS": "Changes saved tasks.",
    },
)
describe(
    BulkActionStatus,
    "Where a bulk action stands. COMPLETED, ABORTED and FAILED are final.",
    {
        "PENDING": "Stored; nothing is done yet.",
        "RUNNING": "Under way.",
        "COMPLETED": "Every item was looked at; `failed` says how many could not be acted on.",
        "ABORTED": "Somebody ended it where it was; what it had done stays done.",
        "FAILED": "The run that carried it out has failed; what it had done stays done.",
    },
)

BulkActionId = Annotated[strawberry.ID, strawberry.argument(description="The id of the bulk action.")]


@strawberry.type(description="An item that a bulk action could not act on.")
class BulkActionError:
    """Which item, and why."""

    item_id: UUID = strawberry.field(graphql_type=strawberry.ID, description="The id of the item: of a run or a task.")
    code: ErrorCode = strawberry.field(description="What is wrong, for programs.")
    message: str = strawberry.field(description="What is wrong, as a sentence for people.")

    @classmethod
    def of(cls, row: Any) -> BulkActionError:
        """The error from its row."""
        return cls(item_id=row.item_id, code=ErrorCode(row.code), message=row.message)


@strawberry.type(description="One action on many runs or tasks. It goes on when the server dies, and can be aborted.")
class BulkAction:
    """A bulk action."""

    id: UUID = strawberry.field(graphql_type=strawberry.ID, description="Its id.")
    kind: BulkActionKind = strawberry.field(description="What it does to each item.")
    status: BulkActionStatus = strawberry.field(description="Where it stands.")
    total: int | None = strawberry.field(
        description="How many items there were when it began; null until they are counted."
    )
    done: int = strawberry.field(description="How many items it has acted on.")
    failed: int = strawberry.field(description="How many items it could not act on.")
    skipped: int | None = strawberry.field(
        description="How many items fitted no more when their turn came, as a run that had ended; null until it ends."
    )
    percent: float | None = strawberry.field(description="How far it is, 0 to 100; null until its items are counted.")
    created_at: datetime = strawberry.field(description="When it was asked for.")
    created_by: Principal = strawberry.field(description="Who asked for it.")
    finished_at: datetime | None = strawberry.field(description="When it ended.")
    aborted_by: Principal | None = strawberry.field(description="Who aborted it; null when nobody did.")
    run_id: strawberry.Private[UUID | None]
    batch_id: strawberry.Private[UUID | None]

    @classmethod
    def of(cls, row: Any) -> BulkAction:
        """The action from its row."""
        return cls(
            id=row.id,
            kind=row.kind,
            status=row.status,
            total=row.total,
            done=row.done,
            failed=row.failed,
            skipped=_skipped(row),
            percent=_percent(row),
            created_at=row.created_at,
            created_by=principal_of(row.created_by),
            finished_at=row.finished_at,
            aborted_by=principal_of(row.aborted_by) if row.aborted_by else None,
            run_id=row.run_id,
            batch_id=row.batch_id,
        )

    @strawberry.field(description="The run that carries it out; null when it was done at once, or the run is deleted.")
    async def run(self, info: Info) -> TaskRun | None:
        """Loaded together for all actions of an answer."""
        return await load_run(info, self.run_id)

    @strawberry.field(description="The batch that it executes tasks into; null for other kinds.")
    async def batch(self, info: Info) -> Batch | None:
        """Loaded together for all actions of an answer."""
        if self.batch_id is None:
            return None
        found = await info.context.loaders.shared("batches", self.batch_id, info.context.service.batches.find)
        return Batch.of(found) if found else None

    @strawberry.field(description="The items that it could not act on, by their ids; the first thousand are kept.")
    async def errors(
        self, info: Info, first: First = UNSET, after: After = UNSET, last: Last = UNSET, before: Before = UNSET
    ) -> Connection[BulkActionError]:
        """Loaded together for all actions of an answer."""
        loaders, page = info.context.loaders, page_args(first, after, last, before)
        found = await loaders.at(info, self.id, lambda: partial(info.context.service.bulk.errors_each, page=page))
        return connection(found, BulkActionError.of, Total(self._kept, loaders.counts.limit))

    async def _kept(self) -> int:
        return min(self.failed, MAX_ERRORS)


def _skipped(row: Any) -> int | None:
    if row.status != BulkActionStatus.COMPLETED or row.total is None:
        return None
    return max(0, row.total - row.done - row.failed)


def _percent(row: Any) -> float | None:
    if row.status == BulkActionStatus.COMPLETED:
        return 100.0
    if row.total is None:
        return None
    return min(100.0, 100.0 * (row.done + row.failed) / row.total) if row.total else 0.0


@strawberry.type(description="The bulk action is stored: it will be carried out, whatever happens to this server.")
class BulkActionSuccess:
    """An action that has begun, and may have ended."""

    bulk_action: BulkAction = strawberry.field(description="The action; what takes a moment only has been done by now.")


@strawberry.type(description="What a bulk action would do now; nothing was changed.")
class BulkPreview:
    """The answer to a dry run."""

    kind: BulkActionKind = strawberry.field(description="What it would do to each item.")
    total: int | None = strawberry.field(description="To how many; null when they are more than `totalExceeds`.")
    total_exceeds: int | None = strawberry.field(description="Set instead of `total`: they are more than this number.")
    sample: list[TaskRun] = strawberry.field(description="The newest of the runs, ten at most; none for tasks.")
    sample_tasks: list[Task] = strawberry.field(description="The newest of the tasks, ten at most; none for runs.")

    @classmethod
    def of(cls, preview: Any) -> BulkPreview:
        """The answer from the service's."""
        runs = [TaskRun.of(run) for run in preview.sample]
        return cls(kind=preview.kind, total=preview.total, total_exceeds=preview.exceeds, sample=runs, sample_tasks=[])

    @classmethod
    def of_tasks(cls, kind: BulkActionKind, total: int, sample: list[Any]) -> BulkPreview:
        """The answer about tasks."""
        tasks = [Task.of(row) for row in sample]
        return cls(kind=kind, total=total, total_exceeds=None, sample=[], sample_tasks=tasks)


BulkActionResult = Annotated[
    BulkActionSuccess | BulkPreview | ConfirmationRequired | InvalidArgument,
    strawberry.union(
        "BulkActionResult", description="The bulk action, what it would do in a dry run, or why there is none."
    ),
]


@strawberry.type
class BulkQueries:
    """What can be read of bulk actions."""

    @strawberry.field(description="One bulk action; null when there is none of that id.")
    async def bulk_action(self, info: Info, id: BulkActionId) -> BulkAction | None:
        """An action by its id."""
        action_id = given_id(id, "id")
        found = (await info.context.service.bulk.find([action_id])).get(action_id)
        return BulkAction.of(found) if found else None

    @strawberry.field(description="All bulk actions, newest first.")
    async def bulk_actions(
        self, info: Info, first: First = UNSET, after: After = UNSET, last: Last = UNSET, before: Before = UNSET
    ) -> Connection[BulkAction]:
        """A page of actions."""
        bulk = info.context.service.bulk
        page = await bulk.list(page_args(first, after, last, before))
        return connection(page, BulkAction.of, Total(bulk.count, info.context.loaders.counts.limit))


@strawberry.type
class BulkSubscriptions:
    """What can be followed of bulk actions."""

    @strawberry.subscription(description="A bulk action: as it is now, then after every step; completes after its end.")
    async def bulk_action_updated(self, info: Info, id: BulkActionId) -> AsyncGenerator[BulkAction, None]:
        """Follow one action."""
        async with aclosing(info.context.service.bulk.watch(id)) as rows:
            async for row in rows:
                yield BulkAction.of(row)
