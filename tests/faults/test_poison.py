"""Poisonous runs: each ends with a clear error, and the other runs of its worker are not hurt."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from app import TaskService
from app.models import TaskRun
from app.settings import Settings
from app.states import TaskRunStatus, TaskRunStatusReason
from tests.faults import poison
from tests.faults.processes import AS_SHIPPED, WorkerProcess, holder, two_workers, worker_process
from tests.workbench import connected, lines, until, until_status

SOON = timedelta(seconds=30)
BLOCKED_SECONDS = float(os.environ.get("TASKLOOM_TEST_BLOCKED_SECONDS", "7.5"))
DEFAULT_LEASE_SECONDS = Settings.model_fields["lease_seconds"].default
POISON = {"TASKLOOM_TASKS": "tests.faults.definitions,tests.faults.poison", "TASKLOOM_POISONED": "1"}


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[WorkerProcess]:
    """A worker process; it must be the same one in the end, and well."""
    async with worker_process(settings, **POISON) as process:
        yield process


async def ended(tasks: TaskService, definition_id: str, name: str) -> TaskRun:
    run = await tasks.trigger(definition_id, input={"name": name})
    return await tasks.wait(run.id, timeout=SOON)


async def assert_is_well(worker: WorkerProcess, tasks: TaskService, bystander: TaskRun) -> None:
    """A run that was under way all the time, and one that is triggered now, end on the same worker as ever."""
    await tasks.abort(bystander.id)
    bystander = await tasks.wait(bystander.id, timeout=SOON)
    assert (bystander.status, bystander.attempt, bystander.interruptions) == (TaskRunStatus.ABORTED, 1, 0)
    after = await tasks.wait((await tasks.trigger("fault-nothing")).id, timeout=SOON)
    assert (after.status, after.worker) == (TaskRunStatus.SUCCEEDED, bystander.worker)
    assert str(after.worker).endswith(f":{worker.pid}")


@pytest.fixture
async def bystander(worker: WorkerProcess, tasks: TaskService) -> TaskRun:
    """A run that goes step by step all the time, on the same worker."""
    run = await tasks.trigger("fault-steps", input={"steps": 1_000_000})
    return await until_status(tasks, run.id, TaskRunStatus.RUNNING)


async def test_whatever_is_raised_fails_its_run_and_nothing_else(
    worker: WorkerProcess, bystander: TaskRun, tasks: TaskService
) -> None:
    for definition_id in ("poison-raise", "poison-raise-plain", "poison-raise-inner"):
        for name in poison.RAISED:
            run = await ended(tasks, definition_id, name)
            assert (run.status, run.claim_no) == (TaskRunStatus.FAILED, 1), (definition_id, name)
            assert run.error, (definition_id, name)
            assert name in (run.error["type"], run.error["message"].split("(")[0].split()[-1])
    for name in poison.RAISED:
        run = await ended(tasks, "poison-hook", name)
        assert (run.status, run.claim_no) == (TaskRunStatus.SUCCEEDED, 1), name
        [line] = await lines(tasks, run.id)
        assert line.startswith("on_done failed: ")
        assert f"on purpose: {name}" in line
    run = await tasks.wait((await tasks.trigger("poison-validator", input={"value": 1})).id, timeout=SOON)
    assert (run.status, run.claim_no) == (TaskRunStatus.FAILED, 1)
    assert run.error
    assert run.error["type"] == "ZeroDivisionError"
    await assert_is_well(worker, tasks, bystander)


OUTPUTS = {
    "50 MB": "The output has 50,000,002 bytes as JSON; at most 1,048,576 are stored",
    "deep": "depth exceeded",
    "surrogate": "surrogates not allowed",
    "NUL": "NUL character",
    "no JSON": "The output is not JSON",
    "broken serializer": "RecursionError",
}
SAVES = {
    "50 MB of state": ("FAILED", "The state has 50,000,002 bytes as JSON; at most 1,048,576 are stored"),
    "a message of 50 MB": ("SUCCEEDED", None),
    "a number of 400 digits": ("FAILED", "too large"),
}


async def test_what_cannot_be_stored_fails_its_run_with_what_is_allowed(
    worker: WorkerProcess, bystander: TaskRun, tasks: TaskService
) -> None:
    for name, words in OUTPUTS.items():
        run = await ended(tasks, "poison-output", name)
        assert (run.status, run.status_reason) == (TaskRunStatus.FAILED, TaskRunStatusReason.INVALID_OUTPUT), name
        assert words in (run.error or {})["message"]
    for name, (status, words) in SAVES.items():
        run = await ended(tasks, "poison-save", name)
        assert run.status == status, name
        assert words is None or words in (run.error or {})["message"]
    await assert_is_well(worker, tasks, bystander)


@pytest.mark.parametrize("definition_id", ["poison-log", "poison-log-plain", "poison-log-library"])
async def test_100_mb_of_log_end_at_the_limit_with_a_word_and_in_bounded_memory(
    worker: WorkerProcess, bystander: TaskRun, tasks: TaskService, definition_id: str
) -> None:
    before = resident(worker.pid)
    run = await ended(tasks, definition_id, "x")
    assert run.status == TaskRunStatus.FAILED
    assert run.error
    assert run.error["type"] == "LogLimitExceeded"
    assert 1_000 < run.log_count < 40_000
    assert [line.sequence async for line in tasks.logs(run.id)] == list(range(1, run.log_count + 1))
    assert peak(worker.pid) - before < 120_000_000
    await assert_is_well(worker, tasks, bystander)


async def test_100_mb_of_log_that_are_allowed_pass_through_16_mb_of_memory(
    settings: Settings, tasks: TaskService
) -> None:
    """A thread is made to wait for PostgreSQL; code on the event loop, which cannot wait, is refused."""
    async with worker_process(settings, **POISON, TASKLOOM_MAX_LOG_BYTES=str(1024**3)) as worker:
        before = resident(worker.pid)
        run = await ended(tasks, "poison-log-plain", "x")
        assert (run.status, run.log_count) == (TaskRunStatus.SUCCEEDED, poison.HUNDRED_MB)
        async with connected(settings) as database:
            assert await database.fetchval("SELECT sum(octet_length(message)) FROM task_logs") == 100_000_000
        run = await ended(tasks, "poison-log", "x")
        assert run.status == TaskRunStatus.FAILED
        assert "wait to be stored" in (run.error or {})["message"]
        assert peak(worker.pid) - before < 60_000_000


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


async def test_a_blocked_event_loop_costs_nobody_lease_or_attempt_and_is_told_with_its_line(
    settings: Settings, tasks: TaskService, capfd: pytest.CaptureFixture[str]
) -> None:
    """For five leases of 1.5 s; the thread of the heartbeat is not the one that is blocked.

    ``TASKLOOM_TEST_BLOCKED_SECONDS=120`` blocks it for two minutes; above 30 s leases and chores go by the defaults.
    """
    patience = SOON + timedelta(seconds=BLOCKED_SECONDS)
    pace = {} if BLOCKED_SECONDS <= DEFAULT_LEASE_SECONDS else AS_SHIPPED
    async with worker_process(settings, **POISON, **pace):
        sleeper = await tasks.trigger("poison-sleep", input={"name": "1"})
        thread = await tasks.trigger("poison-tick", input={"name": str(BLOCKED_SECONDS / 2)})
        for run in (sleeper, thread):
            await until_status(tasks, run.id, TaskRunStatus.RUNNING)
        blocker = await tasks.trigger("poison-block", input={"name": str(BLOCKED_SECONDS)})
        runs = [await tasks.wait(run.id, timeout=patience) for run in (sleeper, thread, blocker)]
    assert [run.status for run in runs] == [TaskRunStatus.SUCCEEDED] * 3
    assert {(run.claim_no, run.attempt, run.interruptions) for run in runs} == {(1, 1, 0)}
    assert runs[1].output > 25 * BLOCKED_SECONDS, "the thread did not go on"
    where = f"{Path(poison.__file__)}:{line_of('time.sleep(float')} (block)"
    assert f"blocked for 5 s by run {blocker.id}, at {where}" in capfd.readouterr().err
    [_, warning] = await lines(tasks, blocker.id)
    assert where in warning
    assert "asyncio.to_thread" in warning


def line_of(code: str) -> int:
    """The number of the line in the module of the definitions that holds the code."""
    source = Path(poison.__file__).read_text().splitlines()
    return next(number for number, line in enumerate(source, 1) if code in line)


async def test_runs_that_a_blocked_worker_does_not_take_are_taken_by_another(
    settings: Settings, tasks: TaskService
) -> None:
    async with two_workers(settings, **POISON) as workers:
        blocker = await tasks.trigger("poison-block", input={"name": "60"})
        blocked = holder(await until_blocking(tasks, blocker), workers)
        for _ in range(5):
            run = await tasks.wait((await tasks.trigger("fault-nothing")).id, timeout=SOON)
            assert run.status == TaskRunStatus.SUCCEEDED
            assert not str(run.worker).endswith(f":{blocked.pid}")
        assert (await tasks.get(blocker.id)).status == TaskRunStatus.RUNNING


async def until_blocking(tasks: TaskService, run: TaskRun) -> TaskRun:
    async def blocking() -> TaskRun | None:
        found = await tasks.get(run.id)
        return found if found.state is not None else None

    found = await until(blocking)
    assert found is not None
    return found
