"""Failures are grouped by their cause, each once; what is counted stays when its runs are gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from app import InvalidArgument, OrderDirection, PageArgs, RunFilter, TaskRun, TaskService, TriggerRequest, states
from app.db import Database, plain_url
from app.error_grouping import BATCH, ErrorGrouping
from app.error_groups import CountedGroup, ErrorGroupFilter, ErrorGroupOrder, ErrorGroupOrderField
from app.errors import ErrorGroupNotFound
from app.service.requests import Provenance
from app.settings import Settings
from app.states import Move, Reason, RunError
from tests.service.conftest import SUCCEED, Hand
from tests.service.scheduled import execute

ONE, TWO = UUID(int=1), UUID(int=2)
Fail = Callable[..., Awaitable[TaskRun]]


@pytest.fixture
def grouping(db: Database) -> ErrorGrouping:
    """Groups when the test says so."""
    return ErrorGrouping(db)


@pytest.fixture
def fail(tasks: TaskService, hand: Hand) -> Fail:
    """Lets a run fail with a message of the test's, or end by another move."""

    async def run(message: str = "disk 1 is full", move: Move | None = None, **from_: object) -> TaskRun:
        provenance = Provenance(**from_)  # type: ignore[arg-type]
        await tasks.submit(TriggerRequest(definition_id="echo", provenance=provenance))
        [held] = await hand.claim()
        await held.write(move=move or states.fail(RunError("OSError", message), Reason.ERROR))
        return await tasks.get(held.id)

    return run


async def groups(tasks: TaskService, **filter: object) -> list[CountedGroup]:
    """The groups that a filter finds; the count has to agree."""
    chosen = ErrorGroupFilter(**filter)  # type: ignore[arg-type]
    found = (await tasks.errors.groups(chosen)).items
    assert await tasks.errors.count(chosen) == len(found)
    return found


async def test_failures_of_one_cause_are_one_group_with_counts_times_and_the_last_run(
    tasks: TaskService, grouping: ErrorGrouping, fail: Fail
) -> None:
    first = await fail("disk 1 is full")
    last = await fail("disk 22 is full")
    other = await fail("disk is broken")
    assert await grouping.catch_up() == 3
    assert await grouping.catch_up() == 0
    broken, full = await groups(tasks)
    assert (full.definition_id, full.error_type, full.message, full.count) == ("echo", "OSError", "disk <n> is full", 2)
    assert (full.first_seen, full.last_seen, full.sample_run_id) == (first.finished_at, last.finished_at, last.id)
    assert (broken.count, broken.sample_run_id) == (1, other.id)
    assert (await tasks.get(first.id)).error_group == full.id
    assert {run.id for run in (await tasks.list(RunFilter(error_group=full.id))).items} == {first.id, last.id}
    assert await tasks.errors.group(full.id) == full


async def test_what_counts_as_a_failure(
    tasks: TaskService, grouping: ErrorGrouping, fail: Fail, settings: Settings
) -> None:
    timeout = await fail(move=states.fail(RunError("Timeout", "after 3 s"), Reason.TIMEOUT))
    lost = await fail()
    await as_lost(settings, lost.id)
    await fail(move=SUCCEED)
    await fail(move=states.retry(RunError("OSError", "again"), 3600.0))
    aborted = await tasks.trigger("echo")
    await tasks.abort(aborted.id)
    assert await grouping.catch_up() == 2
    assert {(group.error_type, group.sample_run_id) for group in await groups(tasks)} == {
        ("Timeout", timeout.id), ("WorkerLost", lost.id),
    }  # fmt: skip


async def as_lost(settings: Settings, id: UUID) -> None:
    """Let a run have ended as the reaper ends it: without an error of its own."""
    await execute(
        settings,
        "UPDATE task_runs SET status = 'LOST', status_reason = 'WORKER_LOST', error = NULL WHERE id = $1",
        id,
    )


async def test_filters_count_only_the_failures_that_fit(
    tasks: TaskService, grouping: ErrorGrouping, fail: Fail, settings: Settings
) -> None:
    await fail(task_id=ONE, group="nightly", owner="USER:ada")
    await fail(task_id=ONE, group="nightly", owner="USER:ada")
    old = await fail(task_id=TWO, group="nightly", owner="USER:bob")
    await fail("other")
    at = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    await execute(settings, "UPDATE task_runs SET started_at = $2, finished_at = $2 WHERE id = $1", old.id, at)
    await grouping.catch_up()

    async def counts(**filter: object) -> dict[str, int]:
        return {group.message: group.count for group in await groups(tasks, **filter)}

    full = "disk <n> is full"
    assert await counts() == {full: 3, "other": 1}
    assert await counts(task_ids=[ONE]) == {full: 2}
    assert await counts(task_ids=[ONE, TWO]) == {full: 3}
    assert await counts(groups=["nightly"], owners=["USER:bob"]) == {full: 1}
    assert await counts(owners=["USER:nobody"]) == {}
    assert await counts(task_ids=[]) == {}
    assert await counts(definition_ids=["echo"], error_types=["OSError"]) == {full: 3, "other": 1}
    assert await counts(definition_ids=["no-input"]) == {}
    assert await counts(error_types=["KeyError"]) == {}
    assert await counts(until=at + timedelta(minutes=1)) == {full: 1}
    assert await counts(since=at + timedelta(hours=1)) == {full: 2, "other": 1}
    assert await counts(since=at + timedelta(minutes=20), until=at + timedelta(minutes=21)) == {full: 1}
    [group] = await groups(tasks, until=at + timedelta(days=1))
    assert (group.first_seen, group.last_seen, group.sample_run_id) == (at, at, old.id)
    affected = (await tasks.errors.tasks_of([group.id]))[group.id]
    assert [(task.task_id, task.count) for task in affected] == [(ONE, 2), (TWO, 1)]


async def test_the_sample_is_the_last_failure_of_those_that_fit(
    tasks: TaskService, grouping: ErrorGrouping, fail: Fail
) -> None:
    runs = {owner: await fail(group="nightly", owner=owner) for owner in ("USER:ada", "USER:bob", "USER:cid")}
    await grouping.catch_up()
    for chosen in (["USER:ada", "USER:bob"], ["USER:cid", "USER:ada"], ["USER:ada"]):
        [group] = await groups(tasks, groups=["nightly"], owners=chosen)
        assert (group.count, group.sample_run_id) == (len(chosen), runs[max(chosen)].id)


@pytest.mark.parametrize(
    "filter",
    [
        ErrorGroupFilter(since=datetime(2030, 1, 1)),
        ErrorGroupFilter(until=datetime(2030, 1, 1)),
        ErrorGroupFilter(since=datetime(2030, 1, 2, tzinfo=UTC), until=datetime(2030, 1, 1, tzinfo=UTC)),
        ErrorGroupFilter(definition_ids=["\0"]),
        ErrorGroupFilter(groups=["x"] * 1001),
        ErrorGroupFilter(task_ids=[ONE] * 1001),
    ],
    ids=range(6),
)
async def test_a_filter_that_cannot_be_meant_is_refused(tasks: TaskService, filter: ErrorGroupFilter) -> None:
    with pytest.raises(InvalidArgument):
        await tasks.errors.groups(filter)


@pytest.mark.parametrize("direction", list(OrderDirection))
@pytest.mark.parametrize("field", list(ErrorGroupOrderField))
async def test_pages_forward_and_backward_give_every_group_once_and_in_order(
    tasks: TaskService,
    grouping: ErrorGrouping,
    fail: Fail,
    field: ErrorGroupOrderField,
    direction: OrderDirection,
) -> None:
    for message in ("a", "b", "c", "b", "d", "a", "a"):
        await fail(message)
    await grouping.catch_up()
    order = ErrorGroupOrder(field, direction)
    for filter in (ErrorGroupFilter(), ErrorGroupFilter(since=datetime(2020, 1, 1, tzinfo=UTC))):
        whole = (await tasks.errors.groups(filter, order)).items
        keys = [order.key(group) for group in whole]
        assert keys == sorted(keys, reverse=direction is OrderDirection.DESC)
        assert len(keys) == 4
        first = await tasks.errors.groups(filter, order, PageArgs(first=3))
        rest = await tasks.errors.groups(filter, order, PageArgs(first=3, after=first.cursors[-1]))
        back = await tasks.errors.groups(filter, order, PageArgs(last=3, before=rest.cursors[0]))
        assert [*first.items, *rest.items] == whole
        assert back.items == first.items
        assert (first.has_next, rest.has_next, back.has_previous) == (True, False, False)


async def test_a_group_that_is_not_there_is_refused_by_name(tasks: TaskService) -> None:
    for id in ("0123456789abcdef", "", "x" * 10_000):
        with pytest.raises(ErrorGroupNotFound, match="There is no error group"):
            await tasks.errors.group(id)
    assert (await tasks.list(RunFilter(error_group="nothing"))).items == []


# Searching the text of errors.


async def test_failures_are_found_by_the_text_of_their_errors(
    tasks: TaskService, grouping: ErrorGrouping, fail: Fail
) -> None:
    await fail("disk 4711 is full_up 100%")
    await fail("磁盘已满了")
    await fail("x" * 480 + " needle in the tail")
    await fail(move=states.retry(RunError("OSError", "disk 4711 later"), 3600.0))
    await tasks.trigger("echo", name="4711 by name")
    assert (await tasks.list(RunFilter(error_text="4711"))).items == [], "not before they are grouped"
    await grouping.catch_up()

    async def found(**filter: object) -> int:
        chosen = RunFilter(**filter)  # type: ignore[arg-type]
        number = len((await tasks.list(chosen)).items)
        assert await tasks.count(chosen) == number
        return number

    for text, number in {
        "DISK 4711": 1, "oserror: disk": 1, "full_up": 1, "fullXup": 0, "100%": 1, "磁盘已": 1, "OSError": 3,
        "needle in": 1, "the tail": 0, "4711 later": 0,
    }.items():  # fmt: skip
        assert await found(error_text=text) == number, text
    assert await found(search="4711") == 2
    assert await found(search="oserror 4711") == 1
    assert await found(search="4711", not_=RunFilter(error_text="4711")) == 1
    assert await found(error_text="OSError", or_=[RunFilter(error_text="4711"), RunFilter(search="磁盘已满")]) == 2


@pytest.mark.parametrize("text", ["", " ", "ab", "!?!?", "x" * 201, "long " * 2000, "\0abc"], ids=range(7))
async def test_a_text_of_errors_that_nothing_could_look_up_is_refused(tasks: TaskService, text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"'errorText' takes|no stored text"):
        await tasks.list(RunFilter(error_text=text))


# Each failure is counted once.


async def many(settings: Settings, number: int) -> None:
    """Failures of two causes, as a worker of an older version left them."""
    await execute(
        settings,
        """INSERT INTO task_runs (id, definition_id, name, status, status_changed_at, input, queue, max_iterations,
            iteration, max_attempts, attempt, created_at, start_at, started_at, finished_at, created_by, error)
        SELECT gen_random_uuid(), 'echo', 'Echo', 'FAILED', now(), '{}', 'default', 1, 1, 1, 1, now(), now(), now(),
            now(), 'USER:ada', jsonb_build_object('type', 'E' || n % 2, 'message', 'no ' || n)
        FROM generate_series(1, $1::int) AS n""",
        number,
    )


@pytest.fixture
async def others(settings: Settings) -> AsyncIterator[list[ErrorGrouping]]:
    """Three processes that group."""
    databases = [Database(settings.database_url, pool_size=2) for _ in range(3)]
    yield [ErrorGrouping(db) for db in databases]
    for db in databases:
        await db.close()


async def test_failures_of_before_are_grouped_and_many_who_do_it_at_once_count_each_once(
    tasks: TaskService, settings: Settings, others: list[ErrorGrouping]
) -> None:
    await many(settings, 2 * BATCH + 10)

    async def work(grouping: ErrorGrouping) -> int:
        grouped, idle = 0, 0
        while idle < 20:
            number = await grouping.catch_up()
            grouped, idle = grouped + number, 0 if number else idle + 1
        return grouped

    assert sum(await asyncio.gather(*map(work, others))) == 2 * BATCH + 10
    assert [group.count for group in await groups(tasks)] == [BATCH + 5, BATCH + 5]
    assert await tasks.count(RunFilter(error_group=(await groups(tasks))[0].id)) == BATCH + 5


async def test_one_who_dies_in_between_leaves_everything_to_the_next(
    tasks: TaskService, settings: Settings, grouping: ErrorGrouping
) -> None:
    await many(settings, 6)
    connection = await asyncpg.connect(plain_url(settings.database_url))
    await connection.execute(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;"
        "CREATE TRIGGER die BEFORE INSERT ON error_group_hours EXECUTE FUNCTION die()"
    )
    try:
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await grouping.catch_up()
    finally:
        await connection.execute("DROP FUNCTION die() CASCADE")
        await connection.close()
    assert await groups(tasks) == []
    assert await tasks.count(RunFilter(has_errors=True)) == 6
    assert await grouping.catch_up() == 6
    assert [group.count for group in await groups(tasks)] == [3, 3]


async def test_a_group_outlives_its_runs_and_is_forgotten_a_year_after_it_was_last_seen(
    tasks: TaskService, grouping: ErrorGrouping, fail: Fail, settings: Settings, db: Database
) -> None:
    run = await fail()
    await grouping.catch_up()
    await execute(settings, "DELETE FROM task_runs WHERE id = $1", run.id)
    [group] = await groups(tasks)
    assert (group.count, await tasks.find([group.sample_run_id])) == (1, {})
    await execute(settings, "UPDATE error_group_hours SET hour = hour - interval '91 days'")
    await ErrorGrouping(db).catch_up()
    assert await groups(tasks) == [group]
    assert await groups(tasks, since=datetime(2020, 1, 1, tzinfo=UTC)) == []
    await execute(settings, "UPDATE error_groups SET last_seen = last_seen - interval '366 days'")
    await ErrorGrouping(db).catch_up()
    assert await groups(tasks) == []
