"""Lists: filters, orders and pages, forward and backward."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from app import (
    DateTimeRange,
    InvalidArgument,
    LogFilter,
    OrderDirection,
    PageArgs,
    RunFilter,
    RunOrder,
    RunOrderField,
    StringFilter,
    TagFilter,
    TaskLogLevel,
    TaskRunStatus,
    TaskService,
    TriggerRequest,
    states,
)
from app.definitions import DefinitionFilter
from app.states import Reason, RunError
from tests.service.conftest import SUCCEED, Hand

ORDERS = [RunOrder(field, direction) for field in RunOrderField for direction in OrderDirection]


async def several(tasks: TaskService, hand: Hand) -> None:
    """Twelve runs of equal and different priorities: three not started, three running, the others final."""
    await tasks.submit_many([TriggerRequest(definition_id="echo", priority=n % 3 - 1) for n in range(12)])
    for held in (await hand.claim(9))[:6]:
        await held.write(move=SUCCEED)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: f"{order.field}-{order.direction}")
@pytest.mark.parametrize("size", [1, 4, 5])
async def test_pages_forward_and_backward_give_every_run_once_and_in_order(
    tasks: TaskService, hand: Hand, order: RunOrder, size: int
) -> None:
    await several(tasks, hand)
    whole = (await tasks.list(order=order, page=PageArgs(first=100))).items
    expected = {RunOrderField.STARTED_AT: 9, RunOrderField.FINISHED_AT: 6}.get(order.field, 12)
    keys = [order.key(run) for run in whole]
    assert len(keys) == expected
    assert keys == sorted(keys, reverse=order.direction is OrderDirection.DESC)

    forward, after = [], None
    while True:
        page = await tasks.list(order=order, page=PageArgs(first=size, after=after))
        forward += page.items
        assert page.has_previous == (after is not None)
        if not page.has_next:
            break
        after = page.cursors[-1]
    assert [run.id for run in forward] == [run.id for run in whole]

    backward, before = [], None
    while True:
        page = await tasks.list(order=order, page=PageArgs(last=size, before=before))
        backward = page.items + backward
        if not page.has_previous:
            break
        before = page.cursors[0]
    assert [run.id for run in backward] == [run.id for run in whole]


async def test_a_page_between_two_cursors(tasks: TaskService, hand: Hand) -> None:
    await several(tasks, hand)
    whole = await tasks.list(page=PageArgs(first=100))
    page = await tasks.list(page=PageArgs(first=100, after=whole.cursors[2], before=whole.cursors[5]))
    assert [run.id for run in page.items] == [run.id for run in whole.items[3:5]]


async def test_a_run_triggered_meanwhile_disturbs_no_page(tasks: TaskService) -> None:
    first = [await tasks.trigger("echo") for _ in range(4)]
    page = await tasks.list(page=PageArgs(first=2))
    await tasks.trigger("echo")
    rest = await tasks.list(page=PageArgs(first=2, after=page.cursors[-1]))
    assert [run.id for run in (*page.items, *rest.items)] == [run.id for run in first[::-1]]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (PageArgs(first=201), "0 to 200"),
        (PageArgs(last=100_000), "0 to 200"),
        (PageArgs(first=-1), "0 to 200"),
        (PageArgs(first=1, last=1), "not both"),
        (PageArgs(after="x"), "no cursor"),
        (PageArgs(before="bm8gY3Vyc29y"), "no cursor"),
    ],
)
async def test_a_page_that_cannot_be_is_refused(tasks: TaskService, args: PageArgs, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        await tasks.list(page=args)


async def test_a_cursor_of_another_order_is_refused(tasks: TaskService) -> None:
    await tasks.trigger("echo")
    cursor = (await tasks.list()).cursors[0]
    with pytest.raises(InvalidArgument, match="another list or order"):
        await tasks.list(order=RunOrder(RunOrderField.PRIORITY), page=PageArgs(after=cursor))


async def found(tasks: TaskService, **filter: Any) -> set[str]:
    """The names of the runs that a filter finds; the count has to agree."""
    chosen = RunFilter(**filter)
    names = {run.name for run in (await tasks.list(chosen)).items}
    assert await tasks.count(chosen) == len(names)
    return names


async def test_filters_find_what_they_say(tasks: TaskService, hand: Hand) -> None:
    one = await tasks.trigger("echo", name="50% One", tags=["a", "b"], input={"text": "t", "count": 2})
    two = await tasks.trigger("echo", name="two_x", tags=["b"], queue="slow", delay=60, parent=one)
    three = await tasks.trigger("no-input", name="THREE", queue="slow")
    [held] = await hand.claim()
    assert held.id == one.id
    await held.write(move=states.fail(RunError("E", "m"), Reason.ERROR))

    assert await found(tasks, ids=[one.id, three.id, uuid4()]) == {"50% One", "THREE"}
    assert await found(tasks, ids=[]) == set()
    assert await found(tasks, definition_ids=["no-input"]) == {"THREE"}
    assert await found(tasks, statuses=[TaskRunStatus.FAILED, TaskRunStatus.SCHEDULED]) == {"50% One", "two_x"}
    assert await found(tasks, queues=["slow"]) == {"two_x", "THREE"}
    assert await found(tasks, parent_id=one.id) == {"two_x"}
    assert await found(tasks, tags=TagFilter(any=["a", "z"])) == {"50% One"}
    assert await found(tasks, tags=TagFilter(all=["a", "b"])) == {"50% One"}
    assert await found(tasks, tags=TagFilter(none=["a"])) == {"two_x", "THREE"}
    assert await found(tasks, tags=TagFilter(any=[])) == set()
    assert await found(tasks, name=StringFilter(eq="THREE")) == {"THREE"}
    assert await found(tasks, name=StringFilter(contains="ee")) == set() | {"THREE"}
    assert await found(tasks, name=StringFilter(contains="%")) == {"50% One"}
    assert await found(tasks, name=StringFilter(contains="_")) == {"two_x"}
    assert await found(tasks, name=StringFilter(contains="\\")) == set()
    assert await found(tasks, name=StringFilter(starts_with="50%")) == {"50% One"}
    assert await found(tasks, name=StringFilter(starts_with="t")) == {"two_x"}
    assert await found(tasks, input_contains={"count": 2}) == {"50% One"}
    assert await found(tasks, has_errors=True) == {"50% One"}
    assert await found(tasks, has_errors=False) == {"two_x", "THREE"}
    assert await found(tasks, created_at=DateTimeRange(gte=two.created_at)) == {"two_x", "THREE"}
    assert await found(tasks, created_at=DateTimeRange(lt=two.created_at)) == {"50% One"}
    assert await found(tasks, finished_at=DateTimeRange(gte=one.created_at)) == {"50% One"}
    assert await found(tasks, started_at=DateTimeRange(lt=one.created_at)) == set()
    assert await found(tasks, output_contains={"no": "such"}) == set()
    assert await found(tasks, not_=RunFilter(parent_id=one.id)) == {"50% One", "THREE"}
    assert await found(tasks, not_=RunFilter()) == set()
    assert await found(tasks, or_=[RunFilter(parent_id=one.id), RunFilter(has_errors=True)]) == {"two_x", "50% One"}
    assert await found(tasks, or_=[]) == set()
    assert await found(tasks, and_=[RunFilter(queues=["slow"]), RunFilter(definition_ids=["echo"])]) == {"two_x"}


async def test_a_filter_that_is_too_deep_or_too_long_is_refused(tasks: TaskService) -> None:
    deep = RunFilter()
    for _ in range(6):
        deep = RunFilter(not_=deep)
    for filter in (deep, RunFilter(or_=[RunFilter()] * 51), RunFilter(queues=["q"] * 1001)):
        with pytest.raises(InvalidArgument):
            await tasks.list(filter)


@pytest.mark.parametrize(
    "filter",
    [
        RunFilter(name=StringFilter(contains="\0")),
        RunFilter(queues=["\ud800"]),
        RunFilter(tags=TagFilter(any=["\0"])),
        RunFilter(input_contains={"a": "\0"}),
        RunFilter(input_contains={1}),
        RunFilter(created_at=DateTimeRange(gte=datetime(2030, 1, 1))),
    ],
    ids=range(6),
)
async def test_a_filter_that_no_database_understands_is_refused(tasks: TaskService, filter: RunFilter) -> None:
    with pytest.raises(InvalidArgument):
        await tasks.list(filter)


async def test_counting_stops_at_the_limit(tasks: TaskService) -> None:
    await tasks.submit_many([TriggerRequest(definition_id="echo")] * 30)
    assert await tasks.count(limit=10) == 11
    assert await tasks.count() == 30


async def test_a_list_can_bring_just_the_columns_that_are_asked_for(tasks: TaskService) -> None:
    run = await tasks.trigger("echo")
    page = await tasks.list(order=RunOrder(RunOrderField.PRIORITY), columns={"name"})
    assert page.items[0]._mapping == {"id": run.id, "name": "Echo", "priority": 5}  # type: ignore[attr-defined]
    assert (await tasks.find([run.id], {"name"}))[run.id].name == "Echo"


async def test_children_of_many_runs_come_as_a_page_each(tasks: TaskService) -> None:
    parents = [await tasks.trigger("echo") for _ in range(3)]
    for n, parent in enumerate(parents):
        for _ in range(n):
            await tasks.trigger("echo", parent=parent)
    pages = await tasks.list_each("parent_id", [parent.id for parent in parents], page=PageArgs(first=1))
    assert [len(pages[parent.id].items) for parent in parents] == [0, 1, 1]
    assert [pages[parent.id].has_next for parent in parents] == [False, False, True]
    oldest = RunOrder(direction=OrderDirection.ASC)
    whole = await tasks.list_each("parent_id", [parents[2].id], order=oldest, columns={"name"})
    assert [row.id for row in whole[parents[2].id].items] == [run.id for run in await tasks.children(parents[2].id)]


async def test_pages_of_a_log_and_its_filters(tasks: TaskService, hand: Hand) -> None:
    run = await tasks.trigger("echo")
    [held] = await hand.claim()
    await held.write("one", "two")
    await held.write("three", level="ERROR")
    first = await tasks.log_page(run.id, page=PageArgs(first=2))
    assert ([line.message for line in first.items], first.has_next) == (["one", "two"], True)
    rest = await tasks.log_page(run.id, page=PageArgs(first=2, after=first.cursors[-1]))
    assert [line.message for line in rest.items] == ["three"]
    last = await tasks.log_page(run.id, page=PageArgs(last=2))
    assert [line.message for line in last.items] == ["two", "three"]
    errors = await tasks.log_page(run.id, LogFilter(levels=[TaskLogLevel.ERROR]))
    assert [line.level for line in errors.items] == [TaskLogLevel.ERROR]
    assert (await tasks.log_page(run.id, LogFilter(message=StringFilter(contains="TW")))).items[0].sequence == 2
    assert (await tasks.log_page(run.id, LogFilter(iteration=2))).items == []


async def test_iterations_show_the_finished_attempts_and_the_one_under_way(tasks: TaskService, hand: Hand) -> None:
    run = await tasks.trigger("echo", max_attempts=3)
    assert (await tasks.iteration_page(run.id)).items == []
    [held] = await hand.claim()
    await held.write(move=states.continue_(0))
    [held] = await hand.claim()
    await held.write(move=states.retry(RunError("E", "m"), 0))
    [held] = await hand.claim()
    rows = (await tasks.iteration_page(run.id)).items
    assert [(row.number, row.attempt, row.outcome and str(row.outcome)) for row in rows] == [
        (1, 1, "CONTINUED"), (2, 1, "RETRIED"), (2, 2, None),
    ]  # fmt: skip
    assert rows[2].finished_at is None
    assert rows[2].started_at
    assert (rows[1].error or {})["message"] == "m"
    last = await tasks.iteration_page(run.id, PageArgs(last=1))
    assert (last.items[0].attempt, last.has_previous) == (2, True)
    await held.write(move=SUCCEED)
    assert [str(row.outcome) for row in (await tasks.iteration_pages([run.id]))[run.id].items] == [
        "CONTINUED", "RETRIED", "SUCCEEDED",
    ]  # fmt: skip


async def test_definitions_are_listed_by_id_and_filtered(tasks: TaskService) -> None:
    await asyncio.gather(*(tasks.trigger(id) for id in ("no-input", "hidden", "echo")))
    assert [row.id for row in (await tasks.definitions()).items] == ["echo", "no-input"]
    page = await tasks.definitions(page=PageArgs(last=1))
    assert ([row.id for row in page.items], page.has_previous) == (["no-input"], True)
    quick = DefinitionFilter(queues=["quick"], title=StringFilter(contains="ECH"))
    assert [row.id for row in (await tasks.definitions(quick)).items] == ["echo"]
    assert await tasks.count_definitions() == 2


async def test_a_definition_is_available_while_a_live_worker_that_does_not_drain_has_its_code_and_serves_its_queue(
    tasks: TaskService, hire: Callable[..., Hand], hand: Hand
) -> None:
    await asyncio.gather(*(tasks.trigger(id) for id in ("no-input", "echo")))
    assert await tasks.available_definitions() == {"echo", "no-input"}
    [worker] = await tasks.workers()
    assert (worker.id, worker.host, worker.capacity) == (hand.owner, "host", 10)
    await hand.live(draining=True)
    assert await tasks.available_definitions() == set()
    await hand.lifecycle.leave()
    assert await tasks.workers() == []
    # Both are loaded there, and "echo" is of the queue "quick".
    await hire(queues=("default",)).live()
    assert await tasks.available_definitions() == {"no-input"}


def test_the_lowest_id_of_a_time_bounds_ids_made_then() -> None:
    from app.ids import first_id, new_id

    now = datetime.now(UTC)
    assert first_id(now) <= new_id() < first_id(now + timedelta(seconds=5))
