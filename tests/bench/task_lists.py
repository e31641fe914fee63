"""How fast the lists of saved tasks are, with their last runs, health and next runs, and how fast searches are."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from app import OrderDirection, PageArgs, RunOrder, TagFilter, TaskRunStatus
from app.models import Task
from app.paging import Page
from app.service.saved_reading import TaskQuestion
from app.task_filters import TaskFilter, TaskOrder
from app.task_words import TaskHealth, TaskOrderField, TaskQuickFilter
from tests.bench.backlog import timed
from tests.bench.bed import Bed
from tests.bench.filled import EVERYWHERE, RARE
from tests.bench.http_client import Connection, encoded, operation, request

PAGES = 200
LIST_GOAL, SEARCH_GOAL = 25, 50
SIZE = 50
LIST = """query ($filter: TaskFilter, $order: TaskOrder, $search: String, $quick: TaskQuickFilter) {
    tasks(filter: $filter, orderBy: $order, search: $search, quick: $quick, first: 50) {
        pageInfo { hasNextPage endCursor } nodes {
            id name description definitionId group tags owner { id } enabled health nextRunAt
            lastRun { id status createdAt finishedAt durationMs } } } }"""
SUGGESTIONS = "query ($prefix: String!) { tagSuggestions(prefix: $prefix) ownerSuggestions(prefix: $prefix) { id } }"


@dataclass(frozen=True)
class TaskListing:
    """A list of tasks as clients ask for it, by the service and by HTTP."""

    name: str
    question: TaskQuestion
    variables: tuple[tuple[str, Any], ...] = ()
    order: TaskOrder | None = None

    @property
    def goal(self) -> float:
        """The milliseconds within which 99 of 100 pages are to come."""
        return SEARCH_GOAL if self.question.search else LIST_GOAL


def _filtered(name: str, filter: TaskFilter, **sent: Any) -> TaskListing:
    return TaskListing(name, TaskQuestion(filter=filter), (("filter", sent),))


def _searched(name: str, text: str) -> TaskListing:
    return TaskListing(f"search for {name}", TaskQuestion(search=text), (("search", text),))


def _quick(quick: TaskQuickFilter) -> TaskListing:
    return TaskListing(f"quick filter {quick}", TaskQuestion(quick=quick), (("quick", quick.value),))


NEWEST = TaskOrder(TaskOrderField.CREATED_AT, OrderDirection.DESC)
LATEST = TaskOrder(TaskOrderField.LAST_RUN_AT, OrderDirection.DESC)
LISTINGS = (
    TaskListing("by name", TaskQuestion()),
    TaskListing("newest first", TaskQuestion(), (("order", {"field": "CREATED_AT", "direction": "DESC"}),), NEWEST),
    TaskListing("by last run", TaskQuestion(), (("order", {"field": "LAST_RUN_AT", "direction": "DESC"}),), LATEST),
    _filtered("one group", TaskFilter(groups=["Pipeline 7"]), groups=["Pipeline 7"]),
    _filtered("one owner", TaskFilter(owners=["USER:person-7"]), owners=["USER:person-7"]),
    _filtered("one tag", TaskFilter(tags=TagFilter(any=["tag-7"])), tags={"any": ["tag-7"]}),
    _filtered("one type", TaskFilter(definition_ids=["filled-3"]), definitionIds=["filled-3"]),
    _filtered("one category", TaskFilter(categories=["Finance"]), categories=["Finance"]),
    *(_filtered(f"health {health}", TaskFilter(health=[health]), health=[health.value]) for health in TaskHealth),
    _filtered(
        "last run LOST", TaskFilter(last_run_statuses=[TaskRunStatus.LOST]), lastRunStatuses=["LOST"],
    ),
    *(_quick(quick) for quick in TaskQuickFilter),
    _searched("one word", "invoice"),
    _searched("two words", "invoice export"),
    _searched("a word in most tasks", EVERYWHERE),
    _searched("a rare word", RARE),
    _searched("a beginning", "repo"),
    _searched("a typing error", "invocie"),
    _searched("a typing error in a word of most tasks", "evrey"),
    _searched("no such word", "qwertyuiop"),
)  # fmt: skip
PREFIXES = ("", "tag-1", "zzz")


async def page_by_service(bed: Bed, listing: TaskListing) -> Page[Task]:
    """A page of tasks, with their last runs and the times of their next ones read as a console reads them."""
    page = await bed.tasks.saved.list(listing.question, listing.order, PageArgs(first=SIZE))
    ids = [task.id for task in page.items]
    await bed.tasks.list_each("task_id", ids, None, RunOrder(), PageArgs(first=1))
    await bed.tasks.schedules.next_of_tasks(ids)
    return page


async def pages_by_service(bed: Bed, listing: TaskListing, pages: int) -> list[float]:
    """Milliseconds of such a page, so many times."""
    return await timed(pages, lambda: page_by_service(bed, listing))


async def answer_by_http(port: int, listing: TaskListing) -> bytes:
    """The answer to the same page by GraphQL."""
    return await request(port, "POST", "/graphql", operation(LIST, **dict(listing.variables)))


async def pages_by_http(port: int, listing: TaskListing, pages: int) -> list[float]:
    """Milliseconds of such an answer, so many times, over one connection that is kept."""
    sent = encoded("POST", "/graphql", operation(LIST, **dict(listing.variables)))
    return await _asked(port, sent, pages)


async def suggestions_by_http(port: int, prefix: str, times: int) -> list[float]:
    """Milliseconds of an answer with tags and owners for what somebody types, so many times."""
    return await _asked(port, encoded("POST", "/graphql", operation(SUGGESTIONS, prefix=prefix)), times)


async def _asked(port: int, sent: bytes, times: int) -> list[float]:
    connection = await Connection.open(port)
    with closing(connection):
        return await timed(times, lambda: connection.ask(sent))
