"""Many queued runs: how fast they are claimed and how fast lists are, compared with few in the same minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app import PageArgs, RunFilter, RunOrder, RunOrderField, TaskRunStatus
from app.db import Database
from app.doorbell import Doorbell, Ring
from app.ids import new_id
from app.leases import Claimant, Leases
from app.models import TaskRun
from app.paging import Page
from tests.bench.bed import Bed, until
from tests.bench.http_client import Connection, encoded, operation, request

LARGE = 1_000_000
SMALL = 10_000
CLAIM = 500
LEASE_SECONDS = 3600.0
PAGES = 200
CHUNK = 5_000
RARE_QUEUE = "reports"
NEWEST_FIRST = RunOrder()
# Nine of ten are of one definition, independently nine of ten in one queue, with five priorities. Created 10 ms apart,
# all of them due.
FILL = """
    INSERT INTO task_runs (id, definition_id, name, status, status_changed_at, queue, priority, iteration,
        max_iterations, attempt, max_attempts, created_at, start_at, due_at, created_by)
    SELECT uuidv7(at - now()), CASE WHEN n % 10 = 0 THEN 'bench-silent' ELSE 'bench-nothing' END, 'Run ' || n, 'QUEUED',
        at, CASE WHEN n / 10 % 10 = 1 THEN 'reports' ELSE 'default' END, n / 100 % 5 - 2, 1, 1, 1, 1, at, at, at,
        'USER:local-admin'
    FROM (SELECT n, now() - ($1 - n) * interval '10 ms' AS at FROM generate_series(1, $1) AS n) AS numbered
    RETURNING id, claim_no, queue, priority, due_at"""
# As a claim by hand found them; their rings are still there.
UNCLAIM = """
    UPDATE task_runs SET status = 'QUEUED', lease_owner = NULL, claim_no = 0, started_at = NULL, due_at = start_at
    WHERE lease_owner = $1"""
LIST = """query ($filter: TaskRunFilter, $order: TaskRunOrder, $after: String) {
    taskRuns(filter: $filter, orderBy: $order, first: 50, after: $after) { pageInfo { hasNextPage endCursor } nodes {
        id name definitionId status statusReason queue priority tags createdAt startAt startedAt finishedAt durationMs
        iteration attempt progress { percent message } } } }"""


@dataclass(frozen=True)
class Listing:
    """A list of runs as clients ask for it: the first page, or the one after ``after`` runs."""

    name: str
    filter: RunFilter | None = None
    variables: tuple[tuple[str, Any], ...] = ()
    order: RunOrder = NEWEST_FIRST
    in_the_middle: bool = False


QUEUED = RunFilter(statuses=[TaskRunStatus.QUEUED])
LISTINGS = (
    Listing("newest first"),
    Listing("after the cursor in the middle", in_the_middle=True),
    Listing("one status that all have", QUEUED, (("filter", {"statuses": ["QUEUED"]}),)),
    Listing(
        "one status that few have", RunFilter(statuses=[TaskRunStatus.SUCCEEDED]),
        (("filter", {"statuses": ["SUCCEEDED"]}),),
    ),
    Listing(
        "one definition", RunFilter(definition_ids=["bench-silent"]), (("filter", {"definitionIds": ["bench-silent"]}),)
    ),
    Listing("one queue", RunFilter(queues=[RARE_QUEUE]), (("filter", {"queues": [RARE_QUEUE]}),)),
    Listing("by priority", None, (("order", {"field": "PRIORITY"}),), RunOrder(RunOrderField.PRIORITY)),
    Listing(
        "two conditions that few meet",
        RunFilter(statuses=[TaskRunStatus.SUCCEEDED], definition_ids=["bench-silent"]),
        (("filter", {"statuses": ["SUCCEEDED"], "definitionIds": ["bench-silent"]}),),
    ),
)  # fmt: skip


async def fill(bed: Bed, runs: int) -> None:
    """Queue so many runs, due and rung, in one statement; the statistics are as they would be after a while."""
    rows = await bed.look.fetch(FILL, runs, timeout=600)
    doorbell = Doorbell(bed.settings.redis_url)
    for begun in range(0, runs, CHUNK):
        chunk = rows[begun : begun + CHUNK]
        await doorbell.ring([Ring(r["id"], r["claim_no"], r["queue"], r["priority"], r["due_at"]) for r in chunk])
    await doorbell.close()
    await bed.look.execute("ANALYZE task_runs; CHECKPOINT")


async def executed(bed: Bed, runs: int) -> float:
    """Runs a second that one worker process claims and brings to their end, over the last 8 of 10 of so many runs.

    Measured by the times in the rows, from after the worker's start.
    """
    begun = await bed.look.fetchval("SELECT now()")
    finished = "SELECT finished_at FROM task_runs WHERE finished_at > $1 ORDER BY finished_at OFFSET $2 LIMIT 1"

    async def enough() -> bool:
        return await bed.look.fetchval(finished, begun, runs - 1) is not None

    async with bed.worker():
        await until(enough, every=0.1)
    first, last = [await bed.look.fetchval(finished, begun, nth - 1) for nth in (runs // 5, runs)]
    return (runs - runs // 5) / (last - first).total_seconds()


async def claimed(bed: Bed, runs: int) -> float:
    """Runs a second that ``Leases.claim_next`` claims, 500 at a time; they are queued again afterwards."""
    claimant = Claimant(new_id(), "bench", ("default",), ("bench-nothing", "bench-silent"))
    db = Database(bed.settings.database_url)
    count = 0
    async with db.autocommit() as pipe:
        await Leases(pipe).beat(claimant, "bench", 0, CLAIM, 0, False, LEASE_SECONDS)
        start = time.perf_counter()
        while count < runs:
            rows = await Leases(pipe).claim_next(claimant, "default", min(CLAIM, runs - count))
            assert rows
            count += len(rows)
        seconds = time.perf_counter() - start
        await Leases(pipe).leave(claimant.owner)
    await db.close()
    await bed.look.execute(UNCLAIM, claimant.owner)
    return count / seconds


async def page_by_service(bed: Bed, listing: Listing) -> Page[TaskRun]:
    """The first page of 50, or the one in the middle, by ``TaskService.list``."""
    return await bed.tasks.list(listing.filter, listing.order, PageArgs(after=await _cursor(bed, listing)))


async def pages_by_service(bed: Bed, listing: Listing, pages: int) -> list[float]:
    """Milliseconds of such a page, so many times."""
    page = PageArgs(after=await _cursor(bed, listing))
    return await timed(pages, lambda: bed.tasks.list(listing.filter, listing.order, page))


async def answer_by_http(bed: Bed, port: int, listing: Listing) -> bytes:
    """The answer to the same page with 16 fields of a run, by GraphQL."""
    return await request(port, "POST", "/graphql", await _body(bed, listing))


async def pages_by_http(bed: Bed, port: int, listing: Listing, pages: int) -> list[float]:
    """Milliseconds of such an answer, so many times, over one connection that is kept."""
    sent = encoded("POST", "/graphql", await _body(bed, listing))
    connection = await Connection.open(port)
    with closing(connection):
        return await timed(pages, lambda: connection.ask(sent))


async def _body(bed: Bed, listing: Listing) -> bytes:
    return operation(LIST, **dict(listing.variables), after=await _cursor(bed, listing))


async def timed(times: int, ask: Callable[[], Any]) -> list[float]:
    """Milliseconds of each of so many answers, after a first one."""
    await ask()
    found: list[float] = []
    for _ in range(times):
        start = time.perf_counter()
        await ask()
        found.append(1000 * (time.perf_counter() - start))
    return found


async def _cursor(bed: Bed, listing: Listing) -> str | None:
    if not listing.in_the_middle:
        return None
    half = "SELECT id FROM task_runs ORDER BY id OFFSET (SELECT count(*) / 2 FROM task_runs) LIMIT 1"
    return listing.order.keyset.cursor((UUID(str(await bed.look.fetchval(half))),))
