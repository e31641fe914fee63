"""What the checks of a definition that follows a batch may raise or block: that batch gets nothing, others go on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app import TaskRunStatus, TaskService, TriggerRequest
from app.models import Batch
from app.service.batches import BatchOptions, OnComplete
from app.settings import Settings
from tests.faults.poison import RAISED
from tests.faults.processes import WorkerProcess, worker_process
from tests.service.scheduled import execute
from tests.workbench import completed, until, until_status

CHECKS = {"TASKLOOM_TASKS": "tests.faults.definitions,tests.faults.checks", "TASKLOOM_HOOK_SECONDS": "2"}
LOCK = "SELECT FROM batches WHERE id = $1 FOR UPDATE NOWAIT"


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[WorkerProcess]:
    async with worker_process(settings, **CHECKS) as process:
        yield process


async def followed_by(tasks: TaskService, definition_id: str, name: str) -> Batch:
    """A batch of one quick run, and what follows it with this name for its input."""
    follows = BatchOptions(on_complete=OnComplete(definition_id, {"name": name}))
    batch, _ = await tasks.batches.trigger([TriggerRequest(definition_id="fault-nothing")], follows)
    return batch


async def assert_is_followed(tasks: TaskService, batch: Batch) -> None:
    batch = await completed(tasks, batch)
    assert batch.complete_run_id is not None, batch.complete_error
    await until_status(tasks, batch.complete_run_id, TaskRunStatus.SUCCEEDED)


@pytest.mark.usefixtures("worker")
async def test_a_check_that_hangs_keeps_no_lock_and_is_given_up_and_other_batches_are_followed(
    settings: Settings, tasks: TaskService, tmp_path: Path
) -> None:
    hung = await followed_by(tasks, "checks-hook-plain", str(tmp_path))
    await until(lambda: (tmp_path / "begun").exists())
    await execute(settings, LOCK, hung.id)
    await assert_is_followed(tasks, await followed_by(tasks, "checks-hook-plain", "good"))
    hung = await completed(tasks, hung)
    (tmp_path / "go on").touch()
    assert hung.complete_run_id is None
    assert "TASKLOOM_HOOK_SECONDS" in str(hung.complete_error)


@pytest.mark.usefixtures("worker")
async def test_whatever_a_check_raises_is_why_nothing_follows_its_batch_and_other_batches_are_followed(
    tasks: TaskService,
) -> None:
    for name in RAISED:
        batch = await completed(tasks, await followed_by(tasks, "checks-hook-plain", name))
        assert batch.complete_run_id is None
        assert f"failed with {name}" in str(batch.complete_error)
    await assert_is_followed(tasks, await followed_by(tasks, "checks-hook-plain", "good"))
