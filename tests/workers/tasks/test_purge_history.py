"""``purge-history``: what is old and needed by nobody goes, with all that belongs to it, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest

from app import TaskService, history
from app.db import Database
from app.errors import InvalidArgument
from app.models import UNGROUPED, TaskRun
from app.run_filters import RunFilter
from app.settings import Settings
from app.states import FINAL, TaskRunStatus
from tests.workbench import lines, until, until_status, working
from workers.tasks.purge_history import FinalStatus

SOON = timedelta(seconds=20)

INSERT = """
    INSERT INTO task_runs (id, definition_id, name, status, queue, max_iterations, max_attempts, start_at, created_by,
        started_at, finished_at, log_count, parent_id, wait_for, idempotency_key, claim_no, iteration, attempt)
    SELECT gen_random_uuid(), $1, 'old', $2, 'elsewhere', 1, 1, now() - $3::interval, 'test',
        now() - $3::interval, CASE WHEN $4 THEN now() - $3::interval - n * interval '1 ms' END, $5, $6, $7, $8, 1, 1, 1
    FROM generate_series(1, $9) n RETURNING id"""
LOGS = """
    INSERT INTO task_logs (run_id, sequence, iteration, attempt, level, message, created_at)
    SELECT r, n, 1, 1, 'INFO', 'line', now() FROM unnest($1::uuid[]) r, generate_series(1, $2::int) n"""
ITERATIONS = """
    INSERT INTO task_iterations (run_id, claim_no, number, attempt, started_at, finished_at, outcome)
    SELECT r, n, n, 1, now(), now(), 'CONTINUED' FROM unnest($1::uuid[]) r, generate_series(1, 2) n"""


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Database]:
    """The test's database."""
    database = Database(settings.database_url, pool_size=3)
    yield database
    await database.close()


async def stored(
    db: Database,
    days: float,
    count: int = 1,
    *,
    definition_id: str = "old",
    status: TaskRunStatus = TaskRunStatus.SUCCEEDED,
    logs: int = 3,
    parent: UUID | None = None,
    wait_for: list[UUID] | None = None,
    key: str | None = None,
) -> list[UUID]:
    """Runs that finished so many days ago, with logs and two iterations each."""
    async with db.pipe() as pipe:
        rows = await pipe.fetch(
            INSERT, definition_id, status, timedelta(days=days), status in FINAL, logs, parent, wait_for, key, count
        )
        ids = [row["id"] for row in rows]
        await pipe.execute(LOGS, ids, logs)
        await pipe.execute(ITERATIONS, ids)
    return ids


async def left(db: Database, table: str, column: str = "run_id") -> set[UUID]:
    async with db.autocommit() as pipe:
        return {row["id"] for row in await pipe.fetch(f"SELECT DISTINCT {column} AS id FROM {table}")}


async def purged(tasks: TaskService, **input: Any) -> TaskRun:
    """A purge by age, once it is final."""
    input = {"older_than": "P30D", **input}
    run = await tasks.trigger("purge-history", input=input)
    run = await tasks.wait(run.id, timeout=SOON)
    assert run.status == TaskRunStatus.SUCCEEDED, run.error
    return run


async def all_grouped(db: Database) -> bool:
    async with db.autocommit() as pipe:
        return not await pipe.fetchval(f"SELECT EXISTS (SELECT FROM task_runs WHERE {UNGROUPED})")


@pytest.mark.usefixtures("worker")
async def test_old_runs_go_with_their_logs_and_iterations_and_young_ones_stay(tasks: TaskService, db: Database) -> None:
    old = await stored(db, 31, 7)
    young = await stored(db, 29, 5)
    run = await purged(tasks, batch_size=3)
    assert {key: run.output[key] for key in ("dry_run", "runs", "logs", "iterations")} == {
        "dry_run": False, "runs": 7, "logs": 21, "iterations": 14,
    }  # fmt: skip
    oldest, newest = (datetime.fromisoformat(run.output[key]) for key in ("oldest", "newest"))
    assert newest - oldest == timedelta(milliseconds=6)
    assert await left(db, "task_runs", "id") == {*young, run.id}
    assert await left(db, "task_logs") == {*young, run.id}
    assert await left(db, "task_iterations") == {*young, run.id}
    assert not set(old) & await left(db, "task_runs", "id")


@pytest.mark.usefixtures("worker")
async def test_a_dry_run_counts_the_same_and_deletes_nothing(tasks: TaskService, db: Database) -> None:
    old = await stored(db, 31, 25)
    dry = await purged(tasks, batch_size=10, dry_run=True)
    assert set(old) <= await left(db, "task_runs", "id")
    assert (await lines(tasks, dry.id))[-1] == ("Would delete so far: runs: 25; log lines: 75; iterations: 50.")
    real = await purged(tasks, batch_size=10)
    same = ("runs", "logs", "iterations", "oldest", "newest")
    assert [dry.output[key] for key in same] == [real.output[key] for key in same]


@pytest.mark.usefixtures("worker")
async def test_only_the_named_definitions_and_statuses_go(tasks: TaskService, db: Database) -> None:
    failed = await stored(db, 31, 2, status=TaskRunStatus.FAILED)
    other = await stored(db, 31, 2, definition_id="other", status=TaskRunStatus.FAILED)
    succeeded = await stored(db, 31, 2)
    # A purge leaves to the next one what somebody has locked, and errors are being grouped just now.
    await until(lambda: all_grouped(db))
    run = await purged(tasks, definition_ids=["old"], statuses=["FAILED", "LOST"], batch_size=1)
    assert run.output["runs"] == 2
    assert await left(db, "task_runs", "id") == {*other, *succeeded, run.id}
    assert not set(failed) & await left(db, "task_logs")


@pytest.mark.usefixtures("worker")
async def test_what_a_live_run_may_still_look_at_stays(tasks: TaskService, db: Database) -> None:
    [parent] = await stored(db, 40)
    [live] = await stored(db, 39, status=TaskRunStatus.QUEUED, parent=parent)
    [child] = await stored(db, 38, parent=live)
    [awaited] = await stored(db, 38)
    [waiting] = await stored(db, 37, status=TaskRunStatus.WAITING, wait_for=[awaited, live])
    [dead_parent] = await stored(db, 40)
    await stored(db, 40, parent=dead_parent)
    run = await purged(tasks, older_than="PT0S")
    assert run.output["runs"] == 2
    assert await left(db, "task_runs", "id") == {parent, live, child, awaited, waiting, run.id}


@pytest.mark.usefixtures("worker")
async def test_live_runs_stay_whatever_their_age(tasks: TaskService, db: Database) -> None:
    live = [(await stored(db, 400, status=status))[0] for status in (TaskRunStatus.QUEUED, TaskRunStatus.WAITING)]
    run = await purged(tasks, older_than="P1D")
    assert run.output["runs"] == 0
    assert (run.output["oldest"], run.output["newest"]) == (None, None)
    assert await left(db, "task_runs", "id") == {*live, run.id}


async def test_a_run_that_somebody_has_locked_is_left_to_the_next_purge_and_not_waited_for(
    tasks: TaskService, db: Database
) -> None:
    first, _ = await stored(db, 31, 2)
    async with db.pipe() as pipe:
        await pipe.execute("SELECT FROM task_runs WHERE id = $1 FOR UPDATE", first)
        result = await tasks.purge(datetime.now(UTC))
    assert result.runs == 1
    assert await left(db, "task_runs", "id") == {first}
    assert (await tasks.purge(datetime.now(UTC))).runs == 1
    assert await left(db, "task_runs", "id") == set()


async def test_a_batch_is_bounded_by_its_log_lines_and_every_run_gets_its_turn(
    tasks: TaskService, db: Database
) -> None:
    await stored(db, 31, 5, logs=history.MAX_LINES // 2)
    sizes, position = [], None
    while True:
        result = await tasks.purge(datetime.now(UTC), after=position)
        if result.position is None:
            break
        sizes.append((result.runs, result.logs))
        position = result.position
    half = history.MAX_LINES // 2
    assert sizes == [(2, 2 * half), (2, 2 * half), (1, half)]


@pytest.mark.usefixtures("worker")
async def test_an_idempotency_key_is_free_again_when_its_run_is_gone(tasks: TaskService, db: Database) -> None:
    [old] = await stored(db, 31, definition_id="test-nothing", key="order-1")
    run = await tasks.trigger("test-nothing", idempotency_key="order-2")
    await purged(tasks)
    new = await tasks.trigger("test-nothing", idempotency_key="order-1")
    assert new.id not in (old, run.id)


async def test_an_abort_takes_effect_between_two_batches_and_another_run_does_the_rest(
    settings: Settings, tasks: TaskService, db: Database
) -> None:
    await stored(db, 31, 500, logs=0)
    async with working(settings):
        run = await tasks.trigger("purge-history", input={"older_than": "P30D", "batch_size": 1})
        await until_status(tasks, run.id, TaskRunStatus.RUNNING)
        await tasks.abort(run.id)
        run = await tasks.wait(run.id, timeout=SOON)
        assert run.status == TaskRunStatus.ABORTED
        rest = await tasks.count(RunFilter(definition_ids=["old"]))
        assert rest > 0
        assert (await purged(tasks)).output["runs"] == rest


async def test_a_purge_goes_on_with_another_worker_after_a_drain(
    settings: Settings, tasks: TaskService, db: Database
) -> None:
    await stored(db, 31, 300, logs=0)
    async with working(settings, drain_seconds=5.0):
        run = await tasks.trigger("purge-history", input={"older_than": "P30D", "batch_size": 1})
        await until_status(tasks, run.id, TaskRunStatus.RUNNING)
    assert (await tasks.get(run.id)).status == TaskRunStatus.QUEUED
    async with working(settings):
        run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.output["runs"]) == (TaskRunStatus.SUCCEEDED, 300)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("input", "field"),
    [
        ({"older_than": "-P1D"}, "older_than"),
        ({"older_than": "yesterday"}, "older_than"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 10_001}, "batch_size"),
        ({"statuses": ["RUNNING"]}, "statuses"),
        ({"dry": True}, "dry"),
    ],
)
async def test_an_input_that_makes_no_sense_is_refused(tasks: TaskService, input: dict[str, Any], field: str) -> None:
    assert {issue.path[0] for issue in await tasks.validate("purge-history", input)} == {field}


async def test_backend_code_is_told_what_is_allowed(tasks: TaskService) -> None:
    now = datetime.now(UTC)
    for arguments in ({"limit": 0}, {"limit": 10_001}, {"statuses": ["RUNNING"]}, {"statuses": ["nonsense"]}):
        with pytest.raises(InvalidArgument):
            await tasks.purge(now, **arguments)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        await tasks.purge(now.replace(tzinfo=None))
    assert (await tasks.purge(now, after=(now, uuid4()))).position is None


def test_the_input_names_every_final_status() -> None:
    assert set(get_args(FinalStatus)) == set(FINAL)
