"""Reading saved tasks: one by one, as lists, and what their runs and revisions say."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from app import task_filters
from app.auth import Principal
from app.db import Database
from app.errors import InvalidArgument
from app.ids import first_id, parse_id
from app.kinds import whole
from app.models import Task, TaskRevision
from app.paging import OrderDirection, Page, PageArgs, make_page, window
from app.service.declared import as_declared
from app.settings import Settings
from app.task_errors import TaskNotFound
from app.task_filters import TaskFilter, TaskOrder
from app.task_search import Search, Searching, words_of
from app.task_words import TaskOrderField, TaskQuickFilter
from app.tasks import BY_VERSION, Stats, Tasks

DEFAULT_PAGE = PageArgs()
STATS_AGE = timedelta(days=30)
MAX_SUGGESTIONS = 50
SOURCES = ("source_task_id", "source_version")
"""What a revision holds besides the task's fields: where a copy or a restored version comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuestion:
    """Which tasks are asked for: everything given must hold.

    Args:
        filter: conditions on fields.
        search: words in name and description; typing errors are forgiven.
        quick: one of the everyday questions.
        time_zone: where "today" begins at midnight, by its IANA name.
    """

    filter: TaskFilter | None = None
    search: str | None = None
    quick: TaskQuickFilter | None = None
    time_zone: str = "UTC"


EVERYTHING = TaskQuestion()


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One difference between a revision and the one before it."""

    field: str
    before: Any
    after: Any


@as_declared
class SavedTaskReading:
    """The part of ``tasks.saved`` that reads and changes nothing."""

    def __init__(self, db: Database, settings: Settings, principal: Principal) -> None:
        self._db = db
        self._settings = settings
        self._principal = principal

    async def get(self, task_id: UUID | str) -> Task:
        """A task as it stands, with its summary's columns. Raises ``TaskNotFound``.

        Example:
            task = await tasks.saved.get("0199c0de-0000-7000-8000-000000000000")
        """
        id = task_uuid(task_id)
        found = (await self.find([id])).get(id)
        if found is None:
            raise TaskNotFound(task_id)
        return found

    async def find(self, ids: Collection[UUID], *, deleted: bool = False) -> Mapping[UUID, Task]:
        """Those of the tasks that exist, by id; with ``deleted`` also those that were deleted.

        Example:
            names = {id: task.name for id, task in (await tasks.saved.find(ids)).items()}
        """
        async with self._db.read() as session:
            return await Tasks(session).get_many(ids, deleted=deleted)

    async def list(
        self,
        question: TaskQuestion = EVERYTHING,
        order: TaskOrder | None = None,
        page: PageArgs = DEFAULT_PAGE,
        principal: Principal | None = None,
    ) -> Page[Task]:
        """A page of tasks: by name, or those that a search fits best first.

        Health and the status of the last run follow the runs by a second or two. Ordered by last run, only tasks that
        ran are shown.

        Args:
            question: which tasks.
            order: by what; RELEVANCE goes with a search only.
            page: which page.
            principal: who asks, for the quick filter "mine".

        Raises:
            InvalidArgument: a page too large, a broken cursor, a filter that is too deep, an unknown time zone.

        Example:
            failing = await tasks.saved.list(TaskQuestion(filter=TaskFilter(health=[TaskHealth.FAILING])))
        """
        by = _order(order, question)
        view = window(page, by.keyset, self._settings)
        conditions = await self._conditions(question, principal)
        async with self._db.read(together=question.search is not None) as session:
            found = await Searching(session).search(question.search)
            chosen = replace(by, rank=found.rank) if found and by.field is TaskOrderField.RELEVANCE else by
            rows = await Tasks(session).read([*conditions, *_condition(found)], chosen, view)
        return make_page(rows, view, chosen.keyset, chosen.key)

    async def count(self, question: TaskQuestion = EVERYTHING, principal: Principal | None = None) -> int:
        """How many tasks fit; counting stops at TASKLOOM_COUNT_LIMIT + 1.

        Example:
            number = await tasks.saved.count(TaskQuestion(quick=TaskQuickFilter.NEVER_RAN))
        """
        conditions = await self._conditions(question, principal)
        async with self._db.read(together=question.search is not None) as session:
            found = await Searching(session).search(question.search)
            return await Tasks(session).count([*conditions, *_condition(found)], self._settings.count_limit)

    async def stats(self, ids: Collection[UUID]) -> Mapping[UUID, Stats]:
        """What became of the last hundred runs of each task, no older than 30 days; a task without any is missing.

        Example:
            rate = (await tasks.saved.stats([task.id]))[task.id].success_rate
        """
        since = await self._db.clock.time() - STATS_AGE
        async with self._db.read() as session:
            return await Tasks(session).stats(ids, first_id(since))

    async def tag_suggestions(self, prefix: str, limit: int = 10) -> builtins.list[str]:
        """Tags of tasks that begin with a text, in upper or lower case, the most used first. Raises InvalidArgument.

        Example:
            tags = await tasks.saved.tag_suggestions("ni")
        """
        whole(limit, "first", 1, MAX_SUGGESTIONS)
        async with self._db.read() as session:
            return await Tasks(session).tags(prefix, limit)

    async def owner_suggestions(self, prefix: str, limit: int = 10) -> builtins.list[str]:
        """Owners of tasks (``KIND:id``) whose id begins with a text, those of most tasks first.

        Example:
            owners = await tasks.saved.owner_suggestions("ad")
        """
        whole(limit, "first", 1, MAX_SUGGESTIONS)
        async with self._db.read() as session:
            return await Tasks(session).owners(prefix, limit)

    # Revisions.

    async def revisions(self, task_id: UUID | str, page: PageArgs = DEFAULT_PAGE) -> Page[TaskRevision]:
        """A page of a task's revisions, the newest first; those of a deleted task too.

        Example:
            last = (await tasks.saved.revisions(task.id, PageArgs(first=1))).items[0]
        """
        view = window(page, BY_VERSION, self._settings)
        async with self._db.read() as session:
            rows = await Tasks(session).revisions(task_uuid(task_id), view)
        return make_page(rows, view, BY_VERSION, lambda row: (row.version,))

    async def count_revisions(self, task_id: UUID | str) -> int:
        """How many revisions a task has.

        Example:
            number = await tasks.saved.count_revisions(task.id)
        """
        async with self._db.read() as session:
            return await Tasks(session).count_revisions(task_uuid(task_id))

    async def revisions_at(self, places: Collection[tuple[UUID, int]]) -> Mapping[tuple[UUID, int], TaskRevision]:
        """Those of the revisions, given as task and version, that exist.

        Example:
            ran_with = (await tasks.saved.revisions_at([(run.task_id, run.task_version)])).values()
        """
        async with self._db.read() as session:
            return await Tasks(session).revisions_at(places)

    # Beneath.

    async def _conditions(self, question: TaskQuestion, principal: Principal | None) -> builtins.list[Any]:
        found = task_filters.conditions(question.filter)
        if question.quick is not None:
            viewer = str(principal or self._principal)
            now = await self._db.clock.time()
            found.append(task_filters.quick_condition(question.quick, viewer, question.time_zone, now))
        return found


def differences(earlier: Mapping[str, Any] | None, later: Mapping[str, Any]) -> builtins.list[FieldChange]:
    """What is different between two revisions' fields, by field; all that is set, for the first revision."""
    before = earlier or {}
    names = sorted((before.keys() | later.keys()) - set(SOURCES))
    changes = (FieldChange(name, before.get(name), later.get(name)) for name in names)
    return [change for change in changes if change.before != change.after]


def task_uuid(task_id: UUID | str) -> UUID:
    """A task's id from what a caller has. Raises ``TaskNotFound`` for what cannot be one."""
    if (id := parse_id(task_id)) is None:
        raise TaskNotFound(task_id)
    return id


def _order(order: TaskOrder | None, question: TaskQuestion) -> TaskOrder:
    """The order that was asked for, or else the usual one. Raises what ``words_of`` raises."""
    words = words_of(question.search)
    if order is None:
        return TaskOrder(TaskOrderField.RELEVANCE, OrderDirection.DESC) if words else TaskOrder()
    if order.field is TaskOrderField.RELEVANCE and not words:
        raise InvalidArgument(
            "RELEVANCE orders what a search finds: pass 'search' with a word, or another order.", path=("orderBy",)
        )
    return order


def _condition(found: Search | None) -> builtins.list[Any]:
    return [] if found is None else [found.condition]
