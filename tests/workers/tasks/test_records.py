"""Old records beside the runs: what goes of the audit, of bulk actions and of batches, and what stays."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from app import RunSelection, TaskRunStatus, TaskService, TriggerRequest, clock
from app.errors import InvalidArgument
from app.service.batches import BatchOptions, OnComplete
from app.settings import Settings
from tests.service.scheduled import execute
from tests.workbench import working

PING = TriggerRequest(definition_id="purge-history", input={"dry_run": True}, delay=timedelta(hours=1))
RECORDS = ("audit_events", "bulk_actions", "bulk_action_errors", "batches")
NOBODY = "0199c0de-0000-7000-8000-000000000000"


async def counts(settings: Settings) -> list[int]:
    """How many of each there are."""
    return [(await execute(settings, f"SELECT count(*) FROM {table}"))[0][0] for table in RECORDS]


async def age(settings: Settings, table: str, days: int) -> None:
    """Make all rows of a table so many days older, ids included."""
    times = {
        "audit_events": ("at",),
        "bulk_actions": ("created_at", "finished_at"),
        "batches": ("created_at", "sealed_at", "completed_at"),
    }
    sets = ", ".join(f"{column} = {column} - make_interval(days => {days})" for column in times[table])
    await execute(settings, f"UPDATE {table} SET {sets}")
    for row in await execute(settings, f"SELECT id FROM {table}"):
        old = UUID(int=row["id"].int - (days * 86_400_000 << 80))
        await execute(settings, f"UPDATE {table} SET id = $2 WHERE id = $1", row["id"], old)
        if table == "bulk_actions":
            await execute(settings, "UPDATE bulk_action_errors SET action_id = $2 WHERE action_id = $1", row["id"], old)
        if table == "batches":
            await execute(settings, "UPDATE task_runs SET batch_id = $2 WHERE batch_id = $1", row["id"], old)


@pytest.fixture
async def recorded(settings: Settings, tasks: TaskService) -> None:
    """A bulk action with an error and its event, and a batch of two runs, one of which is final."""
    _, [first, _] = await tasks.batches.trigger([PING, PING])
    await tasks.abort(first.run.id)  # type: ignore[union-attr]
    await tasks.bulk.delete_runs(RunSelection(ids=[NOBODY]))
    assert await counts(settings) == [1, 1, 1, 1]


async def purged(tasks: TaskService) -> int:
    """How many records go, step by step."""
    removed = 0
    while step := await tasks.retention.purge_records(clock.now(), limit=10):
        removed += step
    return removed


@pytest.mark.usefixtures("recorded")
async def test_records_go_with_all_that_belongs_to_them_once_they_are_old_and_not_before(
    settings: Settings, tasks: TaskService
) -> None:
    assert (await purged(tasks), await counts(settings)) == (0, [1, 1, 1, 1])
    await age(settings, "audit_events", 364)
    await age(settings, "bulk_actions", 29)
    assert (await purged(tasks), await counts(settings)) == (0, [1, 1, 1, 1])
    await age(settings, "audit_events", 2)
    await age(settings, "bulk_actions", 2)
    assert await tasks.retention.purge_records(clock.now(), dry_run=True) == 2
    assert await counts(settings) == [1, 1, 1, 1]
    assert (await purged(tasks), await counts(settings)) == (2, [0, 0, 0, 1])


@pytest.mark.usefixtures("recorded")
async def test_a_batch_stays_while_a_run_of_it_is_live_or_ended_lately_and_its_runs_stay_without_it(
    settings: Settings, tasks: TaskService
) -> None:
    await age(settings, "batches", 31)
    assert await purged(tasks) == 0
    [live] = [run for run in (await tasks.list()).items if run.status == TaskRunStatus.SCHEDULED]
    await tasks.abort(live.id)
    assert await purged(tasks) == 0
    await execute(settings, "UPDATE task_runs SET finished_at = finished_at - interval '31 days'")
    assert (await purged(tasks), (await counts(settings))[-1], await tasks.count()) == (1, 0, 2)


async def test_what_has_not_ended_stays_however_old_it_is(settings: Settings, tasks: TaskService) -> None:
    tasks.bulk._starting.seconds_at_once = 0.0
    await tasks.bulk.abort_runs(RunSelection(ids=[NOBODY]))
    follows = BatchOptions(on_complete=OnComplete("purge-history", {"dry_run": True}))
    _, [only] = await tasks.batches.trigger([PING], follows)
    await tasks.abort(only.run.id)  # type: ignore[union-attr]
    await execute(settings, "UPDATE task_runs SET finished_at = finished_at - interval '90 days'")
    await age(settings, "bulk_actions", 90)
    await age(settings, "batches", 90)
    assert (await purged(tasks), (await counts(settings))[1:]) == (0, [1, 0, 1])
    # Its run is gone, so that nobody carries it out any more.
    await execute(settings, "DELETE FROM task_runs WHERE definition_id = 'bulk-action'")
    assert (await purged(tasks), (await counts(settings))[1:]) == (1, [0, 0, 1])


@pytest.mark.usefixtures("recorded")
async def test_a_purge_by_the_rules_removes_them_and_counts_them_in_a_dry_run(
    settings: Settings, tasks: TaskService
) -> None:
    await age(settings, "audit_events", 400)
    await age(settings, "bulk_actions", 400)
    async with working(settings):
        dry = await tasks.wait((await tasks.trigger("purge-history", input={"dry_run": True})).id)
        by_age = await tasks.wait((await tasks.trigger("purge-history", input={"older_than": "P1D"})).id)
        assert (dry.output["records"], by_age.output["records"]) == (2, 0)
        both = [await tasks.trigger("purge-history", input={"batch_size": 1}) for _ in range(2)]
        done = await asyncio.gather(*(tasks.wait(run.id) for run in both))
    assert sum(run.output["records"] for run in done) == 2
    assert await counts(settings) == [0, 0, 0, 1]


async def test_a_step_without_a_timezone_or_of_any_size_is_refused(tasks: TaskService) -> None:
    with pytest.raises(InvalidArgument, match="timezone"):
        await tasks.retention.purge_records(clock.now().replace(tzinfo=None))
    with pytest.raises(InvalidArgument, match="'limit' is 0"):
        await tasks.retention.purge_records(clock.now(), limit=0)
