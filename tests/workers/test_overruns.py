"""Code that goes on after its timeout: the reaper ends the attempt as its worker would have, by the retry policy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from app import TaskRunStatus, TaskService, TriggerRequest, clock, lifecycle
from app.registry import Definition, Registry
from app.retry import Retry, RetryDelays
from app.settings import Settings
from tests.workbench import until_status, working
from workers import TaskContext

MINUTE = timedelta(minutes=1)
POLICIES = {
    "retried": Retry(max_attempts=3, first_delay=60, jitter=False),
    "never-for-timeouts": Retry(max_attempts=3, never=(TimeoutError,)),
    "for-others-only": Retry(max_attempts=3, on=(ConnectionError,)),
    "once": Retry(),
}


class Stubborn:
    """Code that swallows every cancellation until it is allowed to end."""

    def __init__(self) -> None:
        self.executions = 0
        self.may_end = asyncio.Event()

    async def __call__(self, ctx: TaskContext) -> None:
        self.executions += 1
        while not self.may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.may_end.wait()


@pytest.fixture
async def code(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stubborn]:
    """What a worker executes that reaps soon."""
    monkeypatch.setattr(lifecycle, "OVERRUN_MARGIN_SECONDS", 0.2)
    code, registry = Stubborn(), Registry()
    for id, policy in POLICIES.items():
        registry.add(Definition(id, code.__call__, id, timeout=0.1, retry=policy))
    async with working(settings, registry, reap_seconds=0.1, heartbeat_seconds=0.1) as worker:
        try:
            yield code
        finally:
            code.may_end.set()
            await worker.engine.runner.until_idle()


@pytest.mark.parametrize("id", ["never-for-timeouts", "for-others-only", "once"])
async def test_an_overrun_that_the_policy_does_not_cover_ends_the_run(
    tasks: TaskService, code: Stubborn, id: str
) -> None:
    run = await tasks.trigger(id)
    run = await tasks.wait(run.id, timeout=timedelta(seconds=30))
    assert (run.status, run.status_reason, run.attempt, code.executions) == ("FAILED", "TIMEOUT", 1, 1)
    assert run.error is not None
    assert "did not end it in time" in run.error["message"]


@pytest.mark.parametrize(("delays", "minutes"), [(None, 1), (RetryDelays(first_delay=180, jitter=False), 3)])
async def test_an_overrun_that_the_policy_covers_is_tried_again_after_its_delay_or_that_of_the_task(
    tasks: TaskService, code: Stubborn, delays: RetryDelays | None, minutes: int
) -> None:
    before = clock.now()
    run = (await tasks.submit(TriggerRequest(definition_id="retried", retry=delays))).run
    run = await until_status(tasks, run.id, TaskRunStatus.WAITING)
    assert (run.status_reason, run.attempt, code.executions) == ("RETRY", 2, 1)
    assert run.due_at is not None
    assert minutes <= (run.due_at - before) / MINUTE < minutes + 1
