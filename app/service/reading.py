"""What a client may read: runs, definitions, logs, iterations and workers, one by one and as pages."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from app import run_filters
from app.batching import Batcher
from app.db import Database
from app.definitions import BY_ID, DefinitionFilter, Definitions
from app.errors import InputIssue, InvalidTaskInput, TaskDefinitionNotFound, TaskRunNotFound
from app.logs import BY_CLAIM, BY_SEQUENCE, IterationRow, LogFilter, Logs
from app.models import TaskDefinition, TaskLog, TaskRun, Worker
from app.paging import Keyset, Page, PageArgs, Window, make_page, window
from app.run_filters import RunFilter, RunOrder
from app.runs import Runs
from app.service import arguments, inputs
from app.service.known import KnownDefinitions
from app.settings import Settings


class Reading:
    """Reads; changes nothing."""

    def __init__(self, db: Database, settings: Settings, known: KnownDefinitions) -> None:
        self._db = db
        self._settings = settings
        self._known = known
        self._gets: Batcher[UUID, TaskRun | None] = Batcher(self._get_many)

    # Runs.

    async def run(self, run_id: UUID | str) -> TaskRun:
        """One run; those that are asked for at the same time are read together."""
        found = await self._gets.submit(arguments.run_id(run_id))
        if found is None:
            raise TaskRunNotFound(run_id)
        return found

    async def runs(self, run_ids: Collection[UUID]) -> dict[UUID, TaskRun]:
        """Those of the runs that exist."""
        async with self._db.read() as session:
            return await Runs(session).get_many(run_ids)

    async def find(self, run_ids: Collection[UUID], columns: Collection[str] | None) -> dict[UUID, Any]:
        """Those of the runs that exist, as rows of just these columns where given."""
        if columns is None:
            return await self.runs(run_ids)
        async with self._db.read() as session:
            return await Runs(session).find(run_ids, columns)

    async def page(
        self, filter: RunFilter | None, order: RunOrder, args: PageArgs, columns: Collection[str] | None
    ) -> Page[Any]:
        """A page of runs."""
        view = self._window(args, order.keyset)
        async with self._db.read() as session:
            rows = await Runs(session).read(run_filters.conditions(filter), order, view, columns)
        return make_page(rows, view, order.keyset, order.key)

    async def pages_by(
        self,
        column: str,
        values: Collection[Any],
        filter: RunFilter | None,
        order: RunOrder,
        args: PageArgs,
        columns: Collection[str] | None,
    ) -> dict[Any, Page[Any]]:
        """A page of runs for each value of a column, by one statement."""
        view = self._window(args, order.keyset)
        async with self._db.read() as session:
            runs = Runs(session)
            each = await runs.read_each(column, values, run_filters.conditions(filter), order, view, columns)
        return {value: make_page(rows, view, order.keyset, order.key) for value, rows in each.items()}

    async def count(self, filter: RunFilter | None, limit: int | None) -> int:
        """How many runs there are, counted no further than the limit + 1."""
        cap = self._settings.count_limit if limit is None else limit
        async with self._db.read() as session:
            return await Runs(session).count(run_filters.conditions(filter), cap)

    async def _get_many(self, run_ids: list[UUID]) -> list[TaskRun | None]:
        found = await self.runs(set(run_ids))
        return [found.get(run_id) for run_id in run_ids]

    # Definitions and workers.

    async def definitions(self, filter: DefinitionFilter | None, args: PageArgs) -> Page[TaskDefinition]:
        """A page of definitions; private ones are hidden."""
        view = self._window(args, BY_ID)
        async with self._db.read() as session:
            rows = await Definitions(session).read(filter, view)
        return make_page(rows, view, BY_ID, lambda row: (row.id,))

    async def count_definitions(self, filter: DefinitionFilter | None) -> int:
        """How many definitions the list has."""
        async with self._db.read() as session:
            return await Definitions(session).count(filter)

    async def find_definitions(self, ids: Collection[str]) -> dict[str, TaskDefinition]:
        """Those of the definitions that are published, private ones included."""
        storable = {id for id in ids if "\0" not in id}
        async with self._db.read() as session:
            return await Definitions(session).get_many(storable)

    async def available(self) -> set[str]:
        """The ids of definitions that a live worker serves."""
        async with self._db.read() as session:
            return await Definitions(session).available()

    async def workers(self) -> list[Worker]:
        """The live workers."""
        async with self._db.read() as session:
            return await Definitions(session).workers()

    async def issues(self, definition_id: str, value: Any, *, allow_private: bool) -> list[InputIssue]:
        """What is wrong with an input, without triggering anything."""
        known = (await self._known.find([definition_id])).get(definition_id)
        if known is None or (known.is_private and not allow_private):
            raise TaskDefinitionNotFound(definition_id)
        text = inputs.encode(value)
        inputs.check_size(text, self._settings.max_input_bytes)
        try:
            known.parse(text)
        except InvalidTaskInput as refusal:
            return list(refusal.issues)
        return []

    # Logs and iterations.

    async def log_pages(
        self, run_ids: Collection[UUID], filter: LogFilter | None, args: PageArgs
    ) -> dict[UUID, Page[TaskLog]]:
        """A page of each run's log."""
        view = self._window(args, BY_SEQUENCE)
        async with self._db.read() as session:
            each = await Logs(session).read(run_ids, filter or LogFilter(), view)
        return {id: make_page(rows, view, BY_SEQUENCE, lambda row: (row.sequence,)) for id, rows in each.items()}

    async def iteration_pages(self, run_ids: Collection[UUID], args: PageArgs) -> dict[UUID, Page[IterationRow]]:
        """A page of each run's attempts at iterations."""
        view = self._window(args, BY_CLAIM)
        async with self._db.read() as session:
            each = await Logs(session).iterations(run_ids, view)
        return {id: make_page(rows, view, BY_CLAIM, lambda row: (row.claim_no,)) for id, rows in each.items()}

    def _window(self, args: PageArgs, keyset: Keyset) -> Window:
        settings = self._settings
        return window(args, keyset, default=settings.default_page_size, limit=settings.max_page_size)
