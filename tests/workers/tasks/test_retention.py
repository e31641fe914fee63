"""The rules of retention: what each lets go, what is kept whatever they say, and what survives a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app import TaskService, clock
from app.db import Database
from app.errors import InvalidArgument, TaskDefinitionNotFound
from app.history import History
from app.ids import first_id
from app.models import TaskRun
from app.service.sweeping import SweepPosition, SweepStep
from app.settings import Settings
from app.states import TaskRunStatus
from tests.workbench import lines, until, working
from tests.workers.tasks.test_purge_history import ITERATIONS, LOGS, SOON, left

INSERT = """
    INSERT INTO task_runs (id, definition_id, name, status, queue, max_iterations, max_attempts, start_at, created_by,
        started_at, finished_at, log_count, parent_id, task_id, idempotency_key, claim_no, iteration, attempt)
    SELECT id, $2, 'old', $3, 'elsewhere', 1, 1, at, 'test', at, CASE WHEN $4 THEN at END, 3, $5, $6, $7, 1, 1, 1
    FROM unnest($1::uuid[], $8::timestamptz[]) AS made(id, at)"""


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Database]:
    """The test's database."""
    database = Database(settings.database_url, pool_size=5)
    yield database
    await database.close()


@pytest.fixture
async def strict(tasks: TaskService) -> None:
    """The default rule, but that it keeps no newest runs."""
    await tasks.retention.update(keep_last=0)


async def stored(
    db: Database,
    days: float,
    count: int = 1,
    *,
    definition_id: str = "old",
    status: str = "SUCCEEDED",
    parent: UUID | None = None,
    task: UUID | None = None,
    key: str | None = None,
) -> list[UUID]:
    """Runs that were made and finished so many days ago, a second apart, with three lines and two iterations each."""
    times = [clock.now() - timedelta(days=days) + timedelta(seconds=n) for n in range(count)]
    ids = [UUID(int=first_id(time).int | 7 << 76 | 2 << 62 | uuid4().int >> 66) for time in times]
    final = status not in ("QUEUED", "WAITING")
    async with db.pipe() as pipe:
        await pipe.execute(INSERT, ids, definition_id, status, final, parent, task, key, times)
        await pipe.execute(LOGS, ids, 3)
        await pipe.execute(ITERATIONS, ids)
    return ids


async def swept(tasks: TaskService, *, limit: int = 1000, dry_run: bool = False) -> list[SweepStep]:
    """All the steps of a sweep."""
    steps, now, position = [], clock.now(), SweepPosition()
    while True:
        step = await tasks.retention.sweep(now, after=position, limit=limit, dry_run=dry_run)
        if step.position is None:
            return steps
        steps.append(step)
        position = step.position


def total(steps: list[SweepStep]) -> dict[str, int]:
    """What the steps removed together."""
    return {name: sum(getattr(step, name) for step in steps) for name in ("stripped", "logs", "iterations", "runs")}


async def runs(db: Database) -> set[UUID]:
    return await left(db, "task_runs", "id")


async def with_details(db: Database) -> set[UUID]:
    logs, iterations = await left(db, "task_logs"), await left(db, "task_iterations")
    assert logs == iterations
    return logs


@pytest.mark.usefixtures("strict")
async def test_logs_go_after_3_days_of_success_and_30_of_anything_else_and_runs_after_90(
    tasks: TaskService, db: Database
) -> None:
    stripped = await stored(db, 3.1, 3) + await stored(db, 31, 2, status="FAILED") + await stored(db, 31, status="LOST")
    kept = await stored(db, 2.9, 2) + await stored(db, 29, status="FAILED") + await stored(db, 29, status="ABORTED")
    await stored(db, 91, 2) + await stored(db, 91, status="EXPIRED")
    assert total(await swept(tasks)) == {"stripped": 6, "logs": 27, "iterations": 18, "runs": 3}
    assert await runs(db) == {*stripped, *kept}
    assert await with_details(db) == set(kept)


@pytest.mark.usefixtures("strict")
async def test_a_definition_with_a_rule_of_its_own_goes_by_that_one(tasks: TaskService, db: Database) -> None:
    await tasks.retention.update("test-nothing", succeeded_logs_days=10, runs_days=None, failed_logs_days=None)
    own = await stored(db, 9, definition_id="test-nothing")
    [old] = await stored(db, 400, definition_id="test-nothing")
    [failed] = await stored(db, 400, definition_id="test-nothing", status="FAILED")
    await stored(db, 400)
    assert total(await swept(tasks))["runs"] == 1
    assert await runs(db) == {*own, old, failed}
    assert await with_details(db) == {*own, failed}
    assert (await tasks.retention.reset("test-nothing")).definition_id is None
    await swept(tasks)
    assert await runs(db) == set(own)


async def test_the_newest_runs_of_a_definition_and_of_each_task_stay_whatever_their_age(
    tasks: TaskService, db: Database
) -> None:
    await tasks.retention.update(keep_last=2)
    mine, other = uuid4(), uuid4()
    of_mine = await stored(db, 300, 4, task=mine)
    of_other = await stored(db, 200, 1, task=other)
    plain = await stored(db, 100, 3)
    elsewhere = await stored(db, 500, 1, definition_id="elsewhere")
    await swept(tasks, limit=2)
    assert await runs(db) == {*of_mine[2:], *of_other, *plain[1:], *elsewhere}
    assert await with_details(db) == await runs(db)


@pytest.mark.usefixtures("strict")
async def test_a_pinned_run_and_what_it_wrote_is_removed_by_nobody_until_it_is_unpinned(
    tasks: TaskService, db: Database
) -> None:
    [pinned], [_] = await stored(db, 100), await stored(db, 100)
    for _ in range(2):
        assert await tasks.retention.pin(pinned) == pinned
    await swept(tasks)
    await tasks.purge(clock.now())
    assert await runs(db) == await with_details(db) == {pinned}
    assert (await tasks.get(pinned)).is_pinned
    await tasks.retention.unpin(str(pinned))
    await swept(tasks)
    assert await runs(db) == await with_details(db) == set()


@pytest.mark.usefixtures("strict")
async def test_a_run_that_is_pinned_after_it_was_judged_stays(tasks: TaskService, db: Database) -> None:
    pinned, other = await stored(db, 100, 2)
    await tasks.retention.pin(pinned)
    async with db.pipe() as pipe:
        # What every deletion asks for at last, whatever it has judged before.
        assert [row["id"] for row in await History(pipe).lock([pinned, other])] == [other]


@pytest.mark.usefixtures("strict")
async def test_what_a_live_run_may_look_at_stays_with_its_logs(tasks: TaskService, db: Database) -> None:
    [parent] = await stored(db, 400)
    [live] = await stored(db, 399, status="QUEUED", parent=parent)
    [child] = await stored(db, 398, parent=live)
    [done] = await stored(db, 400)
    await stored(db, 399, parent=done)
    await swept(tasks, limit=1)
    assert await runs(db) == await with_details(db) == {parent, live, child}


@pytest.mark.usefixtures("strict")
async def test_the_key_of_a_run_that_is_gone_is_free_and_that_of_one_without_logs_is_not(
    tasks: TaskService, db: Database
) -> None:
    [gone] = await stored(db, 91, definition_id="test-nothing", key="a")
    [bare] = await stored(db, 89, definition_id="test-nothing", key="b")
    await swept(tasks)
    assert (await tasks.trigger("test-nothing", idempotency_key="a")).id != gone
    assert bare in await runs(db)
    assert bare not in await with_details(db)


@pytest.mark.usefixtures("strict")
async def test_two_sweeps_at_once_remove_everything_once(tasks: TaskService, db: Database) -> None:
    await stored(db, 100, 60)
    await stored(db, 10, 60)
    one, two = await asyncio.gather(swept(tasks, limit=7), swept(tasks, limit=5))
    assert total([*one, *two])["runs"] == 60
    assert len(await runs(db)) == 60
    assert await with_details(db) == set()


@pytest.mark.usefixtures("strict", "worker")
async def test_purge_history_applies_the_rules_and_a_dry_run_counts_the_same(tasks: TaskService, db: Database) -> None:
    await stored(db, 100, 5)
    await stored(db, 10, 5)
    dry, real = [await finished(tasks, batch_size=3, dry_run=dry) for dry in (True, False)]
    names = ("runs", "stripped", "logs", "iterations", "oldest", "newest")
    assert {name: dry.output[name] for name in names} == {name: real.output[name] for name in names}
    assert [real.output[name] for name in names[:4]] == [5, 5, 30, 20]
    assert "so far: runs: 5; log lines: 30; iterations: 20; without either: 5" in (await lines(tasks, real.id))[-1]
    assert len(await runs(db)) == 5 + 2


@pytest.mark.usefixtures("strict")
async def test_a_sweep_goes_on_with_another_worker_after_a_drain(
    settings: Settings, tasks: TaskService, db: Database
) -> None:
    await stored(db, 100, 200)
    async with working(settings, drain_seconds=5.0):
        run = await tasks.trigger("purge-history", input={"batch_size": 1})
        await until(lambda: has_gone_on(tasks, run.id))
    assert (await tasks.get(run.id)).status == TaskRunStatus.QUEUED
    async with working(settings):
        run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.output["runs"], run.output["logs"]) == (TaskRunStatus.SUCCEEDED, 200, 600)


@pytest.mark.usefixtures("strict")
async def test_the_report_says_what_a_sweep_removes_and_changes_nothing(tasks: TaskService, db: Database) -> None:
    await stored(db, 100, 2)
    await stored(db, 10, 3, definition_id="other")
    before = await runs(db)
    report = await tasks.retention.report()
    found = {row.definition_id: (row.stripped, row.logs, row.runs) for row in report.definitions}
    assert report.is_complete
    assert found == {"old": (0, 6, 2), "other": (3, 9, 0)}
    assert await runs(db) == await with_details(db) == before


async def test_rules_are_read_changed_inherited_and_written_down(tasks: TaskService) -> None:
    [default] = await tasks.retention.rules()
    assert (default.succeeded_logs_days, default.failed_logs_days, default.runs_days, default.keep_last) == (
        3, 30, 90, 10,
    )  # fmt: skip
    await tasks.retention.update(keep_last=5)
    own = await tasks.retention.update("test-nothing", runs_days=None)
    assert (own.succeeded_logs_days, own.runs_days, own.keep_last, own.updated_by) == (3, None, 5, "USER:local-admin")
    assert [rule.definition_id for rule in await tasks.retention.rules()] == [None, "test-nothing"]
    assert (await tasks.retention.reset()).keep_last == 10
    assert [rule.keep_last for rule in await tasks.retention.rules()] == [10, 5]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, None),
        ({"runs_days": -1}, "runsDays"),
        ({"runs_days": float("nan")}, "runsDays"),
        ({"succeeded_logs_days": 36_501}, "succeededLogsDays"),
        ({"runs_days": 29}, "failedLogsDays"),
        ({"failed_logs_days": None}, "failedLogsDays"),
        ({"keep_last": 1001}, "keepLast"),
        ({"keep_last": -1}, "keepLast"),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused_and_leaves_nothing_behind(
    tasks: TaskService, changes: dict[str, Any], field: str | None
) -> None:
    before = await tasks.retention.rules()
    with pytest.raises(InvalidArgument) as refusal:
        await tasks.retention.update(**changes)
    assert refusal.value.path == (("input", field) if field else ("input",))
    assert await tasks.retention.rules() == before


async def test_a_definition_that_nobody_published_gets_no_rule(tasks: TaskService) -> None:
    with pytest.raises(TaskDefinitionNotFound):
        await tasks.retention.update("nobody", keep_last=1)


async def has_gone_on(tasks: TaskService, run_id: UUID) -> bool:
    """Whether a purge has saved how far it is."""
    return (await tasks.get(run_id)).state is not None


async def finished(tasks: TaskService, **input: Any) -> TaskRun:
    """A purge, once it has succeeded."""
    run = await tasks.wait((await tasks.trigger("purge-history", input=input)).id, timeout=SOON)
    assert run.status == TaskRunStatus.SUCCEEDED, run.error
    return run
