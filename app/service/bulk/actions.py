"""``tasks.bulk``: starts, shows, follows and aborts actions on many runs at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.auth import Principal
from app.bulk_actions import BY_ID, BY_ITEM, BulkActionRows
from app.db import Database
from app.errors import BulkActionNotFound, ServiceUnavailable
from app.events import Events
from app.ids import parse_id
from app.models import BulkAction, BulkActionError, BulkActionKind, TaskRun
from app.paging import Page, PageArgs, Window, make_page, window
from app.rows import detached
from app.run_filters import RunFilter, RunOrder
from app.runs import Runs
from app.service import arguments
from app.service.bulk.ending import Ending
from app.service.bulk.selections import RunSelection, confirm_phrase
from app.service.bulk.starting import Starting
from app.service.bulk.stepping import Stepper
from app.service.bulk.task_actions import TaskBulkActions
from app.service.bulk.work import Work
from app.service.declared import as_declared
from app.service.requests import Duration, RerunFrom, in_seconds
from app.service.saved import SavedTasks
from app.settings import Settings

DEFAULT_PAGE = PageArgs()
SAMPLE = Window(size=10, backward=False, after=None, before=None)
LOOK_SECONDS = 1.0
STOP_ALL = "stop all tasks"
CLEAR_EXECUTIONS = "clear executions"
EVERYTHING = RunSelection(filter=RunFilter(), all=True)


@dataclass(frozen=True, slots=True)
class BulkPreview:
    """What a bulk action would do now: to how many runs, and the newest ten of them.

    ``total`` is None where there are more than ``exceeds``.
    """

    kind: BulkActionKind
    total: int | None
    exceeds: int | None
    sample: list[TaskRun]


@as_declared
class BulkActions(TaskBulkActions):
    """Actions on many runs. Each is stored before it begins, goes on when this process dies, and can be aborted.

    What takes no longer than a second is done when the method returns; a run of ``bulk-action`` does the rest. All
    methods may raise ``ServiceUnavailable``.
    """

    def __init__(
        self,
        db: Database,
        events: Events,
        settings: Settings,
        starting: Starting,
        stepper: Stepper,
        works: Mapping[BulkActionKind, Work],
        saved: SavedTasks,
    ) -> None:
        super().__init__(saved, settings.max_bulk_items, settings.max_page_size)
        self._db = db
        self._events = events
        self._settings = settings
        self._starting = starting
        self._stepper = stepper
        self._works = works
        self._ending = Ending(db, events)

    # Starting.

    async def abort_runs(
        self,
        selection: RunSelection,
        *,
        message: str | None = None,
        cascade: bool = True,
        force: bool = False,
        principal: Principal | None = None,
    ) -> BulkAction:
        """Abort many runs, each as ``TaskService.abort`` does.

        Args:
            selection: which; of a filter only those that are not final, and never the runs of bulk actions.
            message: the reason, up to 1000 characters, shown with each run.
            cascade: abort their children, and theirs, as well.
            force: end them now, without waiting for a checkpoint.
            principal: who asks; by default the service's own.

        Raises:
            InvalidArgument, ConfirmationRequired (a filter that every run fits, without ``all``).

        Example:
            action = await tasks.bulk.abort_runs(RunSelection(filter=RunFilter(queues=["mail"])), message="superseded")
        """
        given = {"message": _message(message), "cascade": cascade, "force": force}
        return await self._start(BulkActionKind.ABORT_RUNS, self._stored(selection), given, "abortTasks", principal)

    async def rerun_runs(
        self,
        selection: RunSelection,
        *,
        from_: RerunFrom = RerunFrom.START,
        principal: Principal | None = None,
        allow_private: bool = True,
    ) -> BulkAction:
        """Trigger many runs again, each once, as ``TaskService.rerun`` does.

        Args:
            selection: which.
            from_: ``START``, or ``LAST_STATE``, for which each has to be final.
            principal: who asks.
            allow_private: whether runs of private definitions are triggered again.

        Raises:
            InvalidArgument, ConfirmationRequired.

        Example:
            action = await tasks.bulk.rerun_runs(RunSelection(filter=RunFilter(statuses=[TaskRunStatus.FAILED])))
        """
        given = {"from": from_.value, "allow_private": allow_private}
        return await self._start(BulkActionKind.RERUN_RUNS, self._stored(selection), given, "rerunTasks", principal)

    async def delete_runs(self, selection: RunSelection, *, principal: Principal | None = None) -> BulkAction:
        """Delete final runs with their logs and iterations.

        Runs that are not final, that are pinned, or that a live run may still look at stay, and are errors where they
        were named by their ids.

        Raises:
            InvalidArgument, ConfirmationRequired.

        Example:
            action = await tasks.bulk.delete_runs(RunSelection(ids=[run.id]))
        """
        return await self._start(BulkActionKind.DELETE_RUNS, self._stored(selection), {}, "deleteTaskRuns", principal)

    async def stop_all(
        self, *, confirm: str, message: str | None = None, force: bool = False, principal: Principal | None = None
    ) -> BulkAction:
        """Abort every run that is not final, those with a start time ahead included, and all other bulk actions.

        Tasks, schedules and configurations stay: a schedule's next tick makes a run again. Batches trigger nothing.

        Args:
            confirm: ``"stop all tasks"``, to say that this is meant.
            message, force: as with ``abort_runs``.
            principal: who asks.

        Raises:
            ConfirmationRequired, InvalidArgument.

        Example:
            action = await tasks.bulk.stop_all(confirm="stop all tasks", message="Maintenance")
        """
        confirm_phrase(confirm, STOP_ALL)
        given = {"message": _message(message), "cascade": True, "force": force}
        return await self._start(BulkActionKind.STOP_ALL, self._stored(EVERYTHING), given, "stopAllTasks", principal)

    async def clear_executions(
        self, *, confirm: str, filter: RunFilter | None = None, principal: Principal | None = None
    ) -> BulkAction:
        """Delete all final runs, or those that fit a filter, with their logs and iterations; live runs stay.

        Args:
            confirm: ``"clear executions"``, to say that this is meant.
            filter: which; None means all.
            principal: who asks.

        Raises:
            ConfirmationRequired, InvalidArgument.

        Example:
            action = await tasks.bulk.clear_executions(confirm="clear executions")
        """
        confirm_phrase(confirm, CLEAR_EXECUTIONS)
        stored = self._stored(RunSelection(filter=filter or RunFilter(), all=True))
        return await self._start(BulkActionKind.CLEAR_EXECUTIONS, stored, {}, "clearExecutions", principal)

    async def abort_batch(self, batch_id: UUID, *, principal: Principal | None = None) -> BulkAction:
        """Abort the runs of a batch; what ``tasks.batches.abort`` begins with.

        Example:
            action = await tasks.bulk.abort_batch(batch.id)
        """
        stored: dict[str, Any] = {"batch": str(batch_id), "filter": {}}
        return await self._start(BulkActionKind.ABORT_RUNS, stored, {}, "abortBatch", principal)

    async def preview(self, kind: BulkActionKind, selection: RunSelection = EVERYTHING) -> BulkPreview:
        """What an action would do now, without doing it.

        Raises:
            InvalidArgument, ConfirmationRequired.

        Example:
            total = (await tasks.bulk.preview(BulkActionKind.ABORT_RUNS, selection)).total
        """
        action = detached(BulkAction, {"kind": kind, "selection": self._stored(selection), "arguments": {}})
        conditions = self._works[kind].together(action)
        limit = self._settings.count_limit
        async with self._db.read() as session:
            number = await Runs(session).count(conditions, limit)
            sample = await Runs(session).read(conditions, RunOrder(), SAMPLE)
        over = number > limit
        return BulkPreview(kind, None if over else number, limit if over else None, sample[: SAMPLE.size])

    async def _start(
        self,
        kind: BulkActionKind,
        selection: dict[str, Any],
        given: dict[str, Any],
        deed: str,
        principal: Principal | None,
        batch_id: UUID | None = None,
    ) -> BulkAction:
        action_id = await self._starting.start(kind, selection, given, deed, principal, batch_id)
        await self._stepper.run_for(action_id, self._starting.seconds_at_once)
        return await self.get(action_id)

    def _stored(self, selection: RunSelection) -> dict[str, Any]:
        return selection.stored(self._settings.max_bulk_items)

    # Reading.

    async def get(self, action_id: UUID | str) -> BulkAction:
        """An action as it stands. Raises ``BulkActionNotFound``.

        Example:
            print((await tasks.bulk.get(action.id)).done)
        """
        id = parse_id(action_id)
        found = (await self.find([id])).get(id) if id is not None else None
        if found is None:
            raise BulkActionNotFound(action_id)
        return found

    async def find(self, action_ids: Collection[UUID]) -> Mapping[UUID, BulkAction]:
        """Those of the actions that exist, by id.

        Example:
            known = await tasks.bulk.find([action.id])
        """
        async with self._db.read() as session:
            return await BulkActionRows(session).find(action_ids)

    async def list(self, page: PageArgs = DEFAULT_PAGE) -> Page[BulkAction]:
        """A page of actions, the newest first. Raises ``InvalidArgument``.

        Example:
            latest = (await tasks.bulk.list(PageArgs(first=1))).items
        """
        view = window(page, BY_ID, self._settings)
        async with self._db.read() as session:
            rows = await BulkActionRows(session).read(view)
        return make_page(rows, view, BY_ID, lambda row: (row.id,))

    async def count(self) -> int:
        """How many actions there are; counting stops at TASKLOOM_COUNT_LIMIT + 1.

        Example:
            number = await tasks.bulk.count()
        """
        async with self._db.read() as session:
            return await BulkActionRows(session).count(self._settings.count_limit)

    async def errors(self, action_id: UUID, page: PageArgs = DEFAULT_PAGE) -> Page[BulkActionError]:
        """A page of the items that an action could not act on, of which the first thousand are kept.

        Example:
            reasons = [error.message for error in (await tasks.bulk.errors(action.id)).items]
        """
        return (await self.errors_each([action_id], page))[action_id]

    async def errors_each(
        self, action_ids: Collection[UUID], page: PageArgs = DEFAULT_PAGE
    ) -> Mapping[UUID, Page[BulkActionError]]:
        """``errors`` for many actions, by one statement.

        Example:
            pages = await tasks.bulk.errors_each([action.id for action in actions])
        """
        view = window(page, BY_ITEM, self._settings)
        async with self._db.read() as session:
            each = await BulkActionRows(session).errors(action_ids, view)
        return {id: make_page(rows, view, BY_ITEM, lambda row: (row.item_id,)) for id, rows in each.items()}

    # Going on, following and aborting.

    async def step(self, action_id: UUID) -> BulkAction | None:
        """Act on the next items of an action; what a run of ``bulk-action`` does again and again.

        Example:
            while (action := await tasks.bulk.step(id)) and action.finished_at is None: ...
        """
        return await self._stepper.step(action_id)

    async def abort(self, action_id: UUID | str, *, principal: Principal | None = None) -> BulkAction:
        """End an action where it is: what it has done stays done, and nothing more is done once this returns.

        Raises:
            BulkActionNotFound, BulkActionNotAbortable (it has ended).

        Example:
            action = await tasks.bulk.abort(action.id)
        """
        action = await self.get(action_id)
        await self._ending.abort(action, principal or self._starting.principal)
        return await self.get(action.id)

    async def watch(self, action_id: UUID | str) -> AsyncGenerator[BulkAction, None]:
        """The action now, then at every change; ends after its end. Raises ``BulkActionNotFound``.

        Example:
            async for action in tasks.bulk.watch(action.id):
                print(action.done, "of", action.total)
        """
        action = await self.get(action_id)
        async with self._events.subscribe({action.run_id} if action.run_id else set()) as subscription:
            seen = None
            while True:
                mark = (action.status, action.done, action.failed, action.total)
                if mark != seen:
                    seen = mark
                    yield action
                if action.finished_at is not None:
                    return
                await subscription.changed(LOOK_SECONDS)
                action = await self._look_again(action)

    async def wait(self, action_id: UUID | str, *, timeout: Duration | None = None) -> BulkAction:
        """The action once it has ended. Raises ``BulkActionNotFound``, and ``TimeoutError``.

        Example:
            action = await tasks.bulk.wait(action.id, timeout=timedelta(minutes=1))
        """
        async with asyncio.timeout(in_seconds(timeout)):
            async with aclosing(self.watch(action_id)) as changes:
                states = [action async for action in changes]
        return states[-1]

    async def _look_again(self, action: BulkAction) -> BulkAction:
        try:
            return await self.get(action.id)
        except ServiceUnavailable:
            return action


def _message(message: str | None) -> str | None:
    if message is not None:
        arguments.text(message, "message", arguments.MAX_MESSAGE)
    return message
