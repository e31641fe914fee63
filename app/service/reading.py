"""What a client may read: runs, definitions, logs, iterations and workers, one by one and as pages."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from app import run_filters
from app.batching import Batcher
from app.db import Database
from app.definitions import BY_ID, DefinitionFilter, Definitions
from app.errors import InputIssue, InvalidArgument, InvalidTaskInput, TaskDefinitionNotFound, TaskRunNotFound
from app.ids import is_slug
from app.kinds import LARGEST_INTEGER, whole
from app.logs import BY_CLAIM, BY_SEQUENCE, IterationRow, LogFilter, Logs
from app.models import TaskDefinition, TaskLog, TaskRun, Worker
from app.paging import Item, Page, PageArgs, make_page, window
from app.run_filters import RunFilter, RunOrder
from app.runs import Runs
from app.service import arguments, inputs
from app.service.declared import as_declared
from app.service.known import KnownDefinitions
from app.settings import Settings

NEWEST_FIRST = RunOrder()
DEFAULT_PAGE = PageArgs()


@as_declared
class Reading:
    """The part of ``TaskService`` that reads and changes nothing."""

    def __init__(self, db: Database, settings: Settings, known: KnownDefinitions) -> None:
        self._db = db
        self._settings = settings
        self._known = known
        # Runs that are asked for at the same time, as by many who watch, are read together.
        self._gets: Batcher[UUID, TaskRun | None] = Batcher(self._get_many)
        # Inputs are checked in turn, so that many of one query let others in between them.
        self._checks = asyncio.Lock()

    # Reading runs.

    async def get(self, run_id: UUID | str) -> TaskRun:
        """A run as it stands. Raises ``TaskRunNotFound``.

        Example:
            run = await tasks.get("0199c0de-0000-7000-8000-000000000000")
        """
        found = await self._gets.submit(arguments.run_id(run_id))
        if found is None:
            raise TaskRunNotFound(run_id)
        return found

    async def find(self, run_ids: Collection[UUID], columns: Collection[str] | None = None) -> Mapping[UUID, Any]:
        """Those of the runs that exist, by id: as runs, or as rows of just these columns.

        Example:
            names = {id: row.name for id, row in (await tasks.find(ids, {"name"})).items()}
        """
        async with self._db.read() as session:
            runs = Runs(session)
            return await (runs.get_many(run_ids) if columns is None else runs.find(run_ids, columns))

    async def list(
        self,
        filter: RunFilter | None = None,
        order: RunOrder = NEWEST_FIRST,
        page: PageArgs = DEFAULT_PAGE,
        columns: Collection[str] | None = None,
    ) -> Page[TaskRun]:
        """A page of runs, the newest first by default.

        Ordered by start (by finish), only runs that have started (have finished) are shown. With ``columns``, the
        items are rows of just these and the order's own columns, not runs.

        Raises:
            InvalidArgument: a page too large, a broken cursor, or a filter that is too deep.

        Example:
            page = await tasks.list(RunFilter(statuses=[TaskRunStatus.FAILED]), page=PageArgs(first=20))
        """
        view = window(page, order.keyset, self._settings)
        async with self._db.read(together=run_filters.is_searching(filter)) as session:
            conditions = await run_filters.looked_up(session, filter)
            rows = await Runs(session).read(conditions, order, view, columns)
        return make_page(rows, view, order.keyset, order.key)

    async def children(self, run_id: UUID | str) -> builtins.list[TaskRun]:
        """The runs that have this one as their parent, oldest first.

        Example:
            finished = all(child.status in FINAL for child in await tasks.children(run.id))
        """
        filter = RunFilter(parent_id=arguments.run_id(run_id))
        async with self._db.read() as session:
            return await Runs(session).matching(None, run_filters.conditions(filter))

    async def list_each(
        self,
        by: str,
        values: Collection[Any],
        filter: RunFilter | None = None,
        order: RunOrder = NEWEST_FIRST,
        page: PageArgs = DEFAULT_PAGE,
        columns: Collection[str] | None = None,
    ) -> Mapping[Any, Page[TaskRun]]:
        """``list`` for many at once, by one statement: the page of runs for each value of ``by``.

        Args:
            by: ``"parent_id"`` for the children of runs, ``"definition_id"`` for the runs of definitions.

        Example:
            children = await tasks.list_each("parent_id", [run.id for run in runs])
        """
        if by not in run_filters.TABLE.c:
            raise InvalidArgument("'by' must name a column of runs, as in 'parent_id'.", path=("by",))
        keyset = order.keyset
        view = window(page, keyset, self._settings)
        async with self._db.read(together=run_filters.is_searching(filter)) as session:
            runs = Runs(session)
            each = await runs.read_each(by, values, await run_filters.looked_up(session, filter), order, view, columns)
        return {value: make_page(rows, view, keyset, order.key) for value, rows in each.items()}

    async def count(self, filter: RunFilter | None = None, limit: int | None = None) -> int:
        """How many runs match; counting stops at ``limit`` + 1 (by default ``TASKLOOM_COUNT_LIMIT``).

        Example:
            queued = await tasks.count(RunFilter(statuses=[TaskRunStatus.QUEUED]))
        """
        cap = self._settings.count_limit if limit is None else limit
        whole(cap, "limit", 0, LARGEST_INTEGER - 1)
        async with self._db.read(together=run_filters.is_searching(filter)) as session:
            return await Runs(session).count(await run_filters.looked_up(session, filter), cap)

    # Reading definitions and workers.

    async def definitions(
        self, filter: DefinitionFilter | None = None, page: PageArgs = DEFAULT_PAGE
    ) -> Page[TaskDefinition]:
        """A page of the published definitions, by id; private ones are hidden. Raises ``InvalidArgument``.

        Example:
            ids = [definition.id for definition in (await tasks.definitions()).items]
        """
        view = window(page, BY_ID, self._settings)
        async with self._db.read() as session:
            rows = await Definitions(session).read(filter, view)
        return make_page(rows, view, BY_ID, lambda row: (row.id,))

    async def count_definitions(self, filter: DefinitionFilter | None = None) -> int:
        """How many definitions the list has.

        Example:
            number = await tasks.count_definitions()
        """
        async with self._db.read() as session:
            return await Definitions(session).count(filter)

    async def definition(self, definition_id: str) -> TaskDefinition:
        """A published definition. Raises ``TaskDefinitionNotFound``.

        Example:
            schema = (await tasks.definition("checksum-tree")).input_schema
        """
        found = (await self.find_definitions([definition_id])).get(str(definition_id))
        if found is None:
            raise TaskDefinitionNotFound(definition_id)
        return found

    async def find_definitions(self, ids: Collection[str]) -> Mapping[str, TaskDefinition]:
        """Those of the definitions that are published, by id, private ones included.

        Example:
            titles = {id: row.title for id, row in (await tasks.find_definitions(ids)).items()}
        """
        async with self._db.read() as session:
            return await Definitions(session).get_many([id for id in ids if is_slug(id)])

    async def available_definitions(self) -> set[str]:
        """The ids of the definitions of which a live worker has the code and serves the queue.

        Example:
            assert "checksum-tree" in await tasks.available_definitions()
        """
        async with self._db.read() as session:
            return await Definitions(session).available()

    async def validate(
        self, definition_id: str, input: Any, *, allow_private: bool = True
    ) -> builtins.list[InputIssue]:
        """What is wrong with an input; nothing is triggered. No issues means that it fits.

        Raises ``TaskDefinitionNotFound``, and ``InvalidArgument`` when it is too large or is not JSON.

        Example:
            issues = await tasks.validate("checksum-tree", {"root": 7})
        """
        known = (await self._known.find([definition_id])).get(str(definition_id))
        if known is None or (known.is_private and not allow_private):
            raise TaskDefinitionNotFound(definition_id)
        text = inputs.encode(input)
        inputs.check_size(text, self._settings.max_input_bytes)
        async with self._checks:
            await asyncio.sleep(0)
            try:
                known.parse(text)
            except InvalidTaskInput as refusal:
                return [*refusal.issues]
        return []

    async def workers(self) -> builtins.list[Worker]:
        """The worker processes that are alive.

        Example:
            capacity = sum(worker.capacity for worker in await tasks.workers())
        """
        async with self._db.read() as session:
            return await Definitions(session).workers()

    # Logs and iterations.

    async def log_page(
        self, run_id: UUID | str, filter: LogFilter | None = None, page: PageArgs = DEFAULT_PAGE
    ) -> Page[TaskLog]:
        """A page of a run's log, in order. Raises ``TaskRunNotFound``, ``InvalidArgument``.

        Example:
            errors = await tasks.log_page(run.id, LogFilter(levels=[TaskLogLevel.ERROR]))
        """
        id = arguments.run_id(run_id)
        return await self._of_a_run(id, (await self.log_pages([id], filter, page))[id])

    async def log_pages(
        self, run_ids: Collection[UUID], filter: LogFilter | None = None, page: PageArgs = DEFAULT_PAGE
    ) -> Mapping[UUID, Page[TaskLog]]:
        """``log_page`` for many runs, by one statement.

        Example:
            pages = await tasks.log_pages([run.id for run in runs], page=PageArgs(last=3))
        """
        view = window(page, BY_SEQUENCE, self._settings)
        async with self._db.read() as session:
            each = await Logs(session).read(run_ids, filter or LogFilter(), view)
        return {id: make_page(rows, view, BY_SEQUENCE, lambda row: (row.sequence,)) for id, rows in each.items()}

    async def iteration_page(self, run_id: UUID | str, page: PageArgs = DEFAULT_PAGE) -> Page[IterationRow]:
        """A page of a run's attempts at iterations, in order; the one under way is the last.

        Raises ``TaskRunNotFound``, ``InvalidArgument``.

        Example:
            last = (await tasks.iteration_page(run.id, PageArgs(last=1))).items
        """
        id = arguments.run_id(run_id)
        return await self._of_a_run(id, (await self.iteration_pages([id], page))[id])

    async def iteration_pages(
        self, run_ids: Collection[UUID], page: PageArgs = DEFAULT_PAGE
    ) -> Mapping[UUID, Page[IterationRow]]:
        """``iteration_page`` for many runs, by one statement.

        Example:
            pages = await tasks.iteration_pages([run.id for run in runs])
        """
        view = window(page, BY_CLAIM, self._settings)
        async with self._db.read() as session:
            each = await Logs(session).iterations(run_ids, view)
        return {id: make_page(rows, view, BY_CLAIM, lambda row: (row.claim_no,)) for id, rows in each.items()}

    # Beneath.

    async def _of_a_run(self, run_id: UUID, page: Page[Item]) -> Page[Item]:
        """The page, unless it is empty because there is no such run. Raises ``TaskRunNotFound``."""
        if not page.items:
            await self.get(run_id)
        return page

    async def _get_many(self, run_ids: builtins.list[UUID]) -> builtins.list[TaskRun | None]:
        found = await self.find(set(run_ids))
        return [found.get(run_id) for run_id in run_ids]
