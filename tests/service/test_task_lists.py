"""Lists of saved tasks: filters, health, quick filters, orders, and suggestions."""

from __future__ import annotations

from typing import Any

import pytest

from app import InvalidArgument, OrderDirection, PageArgs, StringFilter, TagFilter, TaskRunStatus, TaskService, states
from app.auth import Principal, PrincipalKind
from app.db import Database
from app.models import Task
from app.registry import Registry, Triggers
from app.service.saved_reading import TaskQuestion
from app.service.task_fields import TaskFields
from app.states import RunError
from app.summaries import Summaries
from app.task_filters import TaskFilter, TaskOrder, health_of
from app.task_words import TaskHealth, TaskOrderField, TaskQuickFilter
from tests.service.conftest import SUCCEED, Hand, definition

ADA = Principal(PrincipalKind.USER, "ada")
BOB = Principal(PrincipalKind.USER, "bob")
FAIL = states.fail(RunError("ValueError", "no", None), states.Reason.ERROR)


async def saved(tasks: TaskService, name: str, by: Principal = ADA, **fields: Any) -> Task:
    return await tasks.saved.create(TaskFields(name=name, **{"definition_id": "no-input", **fields}), principal=by)


async def names(tasks: TaskService, principal: Principal = ADA, order: TaskOrder | None = None, **asked: Any) -> Any:
    question = TaskQuestion(**asked)
    found = [task.name for task in (await tasks.saved.list(question, order, principal=principal)).items]
    assert await tasks.saved.count(question, principal) == len(found)
    return found


async def ran(tasks: TaskService, hand: Hand, task: Task, move: Any = SUCCEED) -> None:
    await tasks.saved.execute(task.id)
    [held] = await hand.claim()
    await held.write(move=move)


async def test_tasks_are_found_by_what_they_are(tasks: TaskService, registry: Registry) -> None:
    registry.add(definition("sorted-one", category="Reports", triggers=Triggers.SCHEDULED))
    await saved(tasks, "a", group="g", tags=["x", "y"], entity_type="customer", entity_id="1")
    await saved(tasks, "b", by=BOB, tags=["y"], definition_id="sorted-one", is_enabled=False)
    for filter, expected in (
        (TaskFilter(), ["a", "b"]),
        (TaskFilter(definition_ids=["no-input"]), ["a"]),
        (TaskFilter(categories=["Reports"]), ["b"]),
        (TaskFilter(triggers=[Triggers.SCHEDULED]), ["b"]),
        (TaskFilter(triggers=[Triggers.BOTH, Triggers.ON_DEMAND]), ["a"]),
        (TaskFilter(groups=["g", "h"]), ["a"]),
        (TaskFilter(owners=["USER:bob"]), ["b"]),
        (TaskFilter(tags=TagFilter(all=["x", "y"])), ["a"]),
        (TaskFilter(tags=TagFilter(none=["x"])), ["b"]),
        (TaskFilter(name=StringFilter(starts_with="b")), ["b"]),
        (TaskFilter(is_enabled=True), ["a"]),
        (TaskFilter(entity_type="customer", entity_id="1"), ["a"]),
        (TaskFilter(ids=[]), []),
        (TaskFilter(or_=[TaskFilter(groups=["g"]), TaskFilter(owners=["USER:bob"])]), ["a", "b"]),
        (TaskFilter(not_=TaskFilter(groups=["g"])), ["b"]),
        (TaskFilter(and_=[TaskFilter(groups=["g"]), TaskFilter(is_enabled=False)]), []),
    ):
        assert await names(tasks, filter=filter) == expected, filter


async def test_health_follows_the_last_run_that_tells_something(tasks: TaskService, hand: Hand, db: Database) -> None:
    fine, bad, new, off = [await saved(tasks, name) for name in ("fine", "bad", "new", "off")]
    await ran(tasks, hand, fine, FAIL)
    await ran(tasks, hand, fine)
    await ran(tasks, hand, bad, FAIL)
    aborted = (await tasks.saved.execute(bad.id)).run
    await tasks.abort(aborted.id)
    await tasks.saved.update(off.id, 1, _off())
    await Summaries(db).catch_up()
    for health, expected in (("OK", ["fine"]), ("FAILING", ["bad"]), ("NEVER_RUN", ["new"]), ("DISABLED", ["off"])):
        assert await names(tasks, filter=TaskFilter(health=[TaskHealth(health)])) == expected
        [task] = [task for task in (fine, bad, new, off) if task.name == expected[0]]
        assert health_of(await tasks.saved.get(task.id)) == health
    assert await names(tasks, filter=TaskFilter(last_run_statuses=[TaskRunStatus.ABORTED])) == ["bad"]
    latest = await tasks.saved.list(order=TaskOrder(TaskOrderField.LAST_RUN_AT, OrderDirection.DESC))
    assert [task.name for task in latest.items] == ["bad", "fine"]


def _off() -> Any:
    from app.service.task_fields import TaskChanges

    return TaskChanges(is_enabled=False)


async def test_a_change_that_is_committed_late_is_taken_in_all_the_same(
    settings: Any, tasks: TaskService, hand: Hand, db: Database
) -> None:
    task = await saved(tasks, "a")
    run = (await tasks.saved.execute(task.id)).run
    late = Database(settings.database_url, pool_size=1)
    async with late.pipe() as pipe:
        await pipe.execute(
            "UPDATE task_runs SET status = 'ABORTED', status_changed_at = now(), finished_at = now() WHERE id = $1",
            run.id,
        )
        await Summaries(db).catch_up()
        assert await names(tasks, filter=TaskFilter(last_run_statuses=[TaskRunStatus.ABORTED])) == []
    await late.close()
    await Summaries(db).catch_up()
    assert await names(tasks, filter=TaskFilter(last_run_statuses=[TaskRunStatus.ABORTED])) == ["a"]


async def test_a_summary_is_the_same_however_often_it_is_made(tasks: TaskService, hand: Hand, db: Database) -> None:
    task = await saved(tasks, "a")
    await ran(tasks, hand, task)
    async with db.pipe() as pipe:
        await Summaries(db).catch_up()
        once = await pipe.fetch("SELECT * FROM task_summaries")
        await pipe.execute("DELETE FROM task_summary_mark")
    await Summaries(db).catch_up()
    async with db.pipe() as pipe:
        assert await pipe.fetch("SELECT * FROM task_summaries") == once


async def test_the_stats_of_a_task_are_those_of_its_latest_runs(tasks: TaskService, hand: Hand) -> None:
    task, other = await saved(tasks, "a"), await saved(tasks, "b")
    for move in (SUCCEED, SUCCEED, SUCCEED, FAIL):
        await ran(tasks, hand, task, move)
    stats = await tasks.saved.stats([task.id, other.id])
    assert other.id not in stats
    found = stats[task.id]
    assert (found.runs, found.succeeded, found.failed, found.success_rate) == (4, 3, 1, 0.75)
    assert found.average_ms is not None


# Quick filters.


async def test_quick_filters_answer_what_people_ask_every_day(tasks: TaskService, hand: Hand, db: Database) -> None:
    failed, running, idle = await saved(tasks, "failed"), await saved(tasks, "running"), await saved(tasks, "idle", BOB)
    await ran(tasks, hand, failed, FAIL)
    await tasks.saved.execute(running.id)
    await hand.claim()
    await Summaries(db).catch_up()
    assert await names(tasks, quick=TaskQuickFilter.RUNNING) == ["running"]
    assert await names(tasks, quick=TaskQuickFilter.FAILED_TODAY, time_zone="Pacific/Auckland") == ["failed"]
    assert await names(tasks, quick=TaskQuickFilter.NEVER_RAN) == ["idle"]
    assert await names(tasks, quick=TaskQuickFilter.MINE) == ["failed", "running"]
    assert await names(tasks, quick=TaskQuickFilter.MINE, principal=BOB) == ["idle"]
    assert await names(tasks, quick=TaskQuickFilter.SLOW) == []
    async with db.pipe() as pipe:
        await pipe.execute("UPDATE task_summaries SET last_ms = 5000, usual_ms = 1000 WHERE task_id = $1", failed.id)
        await pipe.execute("UPDATE task_summaries SET last_failed_at = now() - interval '25 hours'")
    assert await names(tasks, quick=TaskQuickFilter.SLOW) == ["failed"]
    assert await names(tasks, quick=TaskQuickFilter.FAILED_TODAY) == []
    assert idle.id
    with pytest.raises(InvalidArgument, match="no time zone"):
        await names(tasks, quick=TaskQuickFilter.FAILED_TODAY, time_zone="Mars/Olympus")


# Orders.


@pytest.mark.parametrize("direction", list(OrderDirection))
@pytest.mark.parametrize("field", [field for field in TaskOrderField if field is not TaskOrderField.RELEVANCE])
async def test_every_order_is_paged_without_gap_or_repeat(
    tasks: TaskService, hand: Hand, db: Database, field: TaskOrderField, direction: OrderDirection
) -> None:
    for n in range(5):
        await ran(tasks, hand, await saved(tasks, f"t{n}"))
    await Summaries(db).catch_up()
    order = TaskOrder(field, direction)
    expected = [f"t{n}" for n in range(5)]
    expected = expected if direction is OrderDirection.ASC else expected[::-1]
    found, after = [], None
    while True:
        page = await tasks.saved.list(order=order, page=PageArgs(first=2, after=after))
        found += [task.name for task in page.items]
        if not page.has_next:
            break
        after = page.cursors[-1]
    assert found == expected


async def test_relevance_orders_only_what_a_search_finds(tasks: TaskService) -> None:
    with pytest.raises(InvalidArgument, match="RELEVANCE"):
        await tasks.saved.list(order=TaskOrder(TaskOrderField.RELEVANCE))


# Suggestions.


async def test_tags_and_owners_are_suggested_by_their_beginning_the_most_used_first(tasks: TaskService) -> None:
    await saved(tasks, "a", tags=["nightly", "Night"])
    await saved(tasks, "b", BOB, tags=["nightly", "other"])
    for name in ("c", "d", "e"):
        await saved(tasks, name, tags=["night"])
    await saved(tasks, "f", tags=["100%"])
    gone = await saved(tasks, "g", tags=["nightmare"])
    await tasks.saved.delete(gone.id)
    assert await tasks.saved.tag_suggestions("nig") == ["night", "nightly", "Night"]
    assert await tasks.saved.tag_suggestions("%") == []
    assert await tasks.saved.tag_suggestions("100%") == ["100%"]
    assert len(await tasks.saved.tag_suggestions("", limit=2)) == 2
    assert await tasks.saved.owner_suggestions("") == ["USER:ada", "USER:bob"]
    assert await tasks.saved.owner_suggestions("B") == ["USER:bob"]
    with pytest.raises(InvalidArgument):
        await tasks.saved.tag_suggestions("", limit=51)
