"""A worker whose lease is over because its event loop was stuck claims nothing, and stops what others go on with.

One that cannot renew its lease any more ends.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from app import TaskService
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults import stalled
from tests.faults.processes import worker_process
from tests.faults.test_workers_that_die import outcomes
from tests.workbench import no_heartbeat, until, until_status
from workers.lease import EXIT_CODE

assert stalled
SOON = timedelta(seconds=30)
STALLING = {
    "TASKLOOM_TASKS": "tests.faults.definitions,tests.faults.stalled",
    "TASKLOOM_LOOK_SECONDS": "0.1",
    "TASKLOOM_STALL_SECONDS": "0.3",
}


async def test_a_worker_that_was_stuck_stops_what_others_go_on_with_and_claims_again_with_a_lease(
    settings: Settings, tasks: TaskService, tmp_path: Path
) -> None:
    place = {"place": str(tmp_path)}

    def noted(pid: int, what: str) -> bool:
        return (tmp_path / "notes").exists() and f"{pid} {what}\n" in (tmp_path / "notes").read_text()

    async with worker_process(settings, **STALLING, TASKLOOM_QUEUES="default,own") as stuck:
        run = await tasks.trigger("stalled-wait", input=place)
        await until(lambda: noted(stuck.pid, "begins"))
        async with worker_process(settings, **STALLING) as other:
            blocker = await tasks.trigger("stalled-block", input=place, queue="own")
            await until(lambda: noted(stuck.pid, "blocks"))
            await until(lambda: noted(other.pid, "begins"))
            async with no_heartbeat(settings, stuck.pid):
                (tmp_path / "go on").touch()
                await until(lambda: noted(stuck.pid, "is stopped"))
                triggered = [await tasks.trigger("fault-nothing") for _ in range(20)]
                ended = await asyncio.gather(*(tasks.wait(run.id, timeout=SOON) for run in triggered))
                assert {(run.claim_no, str(run.worker).rpartition(":")[2]) for run in ended} == {(1, str(other.pid))}
            # It is the only one that serves this queue.
            after = await tasks.trigger("fault-nothing", queue="own")
            for waiting in (after, blocker):
                await until_status(tasks, waiting.id, TaskRunStatus.SUCCEEDED)
            (tmp_path / "finish").touch()
            run = await until_status(tasks, run.id, TaskRunStatus.SUCCEEDED)
    assert not noted(stuck.pid, "ends")
    assert noted(other.pid, "ends")
    assert await outcomes(tasks, run) == ["LOST", "SUCCEEDED"]


@pytest.mark.parametrize("by", ["exit", "cancel"])
async def test_a_worker_whose_heartbeat_ends_without_being_told_to_ends_with_a_word_and_an_exit_code(
    settings: Settings, tasks: TaskService, capfd: pytest.CaptureFixture[str], by: str
) -> None:
    async with worker_process(settings, **STALLING) as worker:
        await tasks.trigger("stalled-lease", input={"by": by})
        assert await worker.ended() == EXIT_CODE
    assert "The thread that renews the lease has ended; the worker ends with it." in capfd.readouterr().err
