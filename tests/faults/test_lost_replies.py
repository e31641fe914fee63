"""PostgreSQL has done what it was asked, or not, and the reply is lost, or late: nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from pydantic import BaseModel

from app import TaskService, TriggerRequest, clock, lifecycle
from app.doorbell import Doorbell, Ring
from app.models import TaskRun
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.test_workers_that_die import outcomes
from tests.service.lossy import Lossy, lossy
from tests.workbench import lines, until, until_status, working
from workers import Continue, TaskContext, task

SOON = timedelta(seconds=60)
reached: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
allowed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
executed: Counter[UUID] = Counter()


class Named(BaseModel):
    name: str


@task(id="fault-gates", max_iterations=2)
async def gates(ctx: TaskContext, input: Named) -> str | Continue:
    """Saves, continues and ends, and waits before each for its test."""
    if ctx.iteration == 1:
        await passed(f"{input.name} save")
        ctx.log.info("one")
        await ctx.checkpoint(state={"at": "the saved state"})
        await passed(f"{input.name} continue")
        return ctx.continue_({"at": "the continued state"})
    ctx.log.info("two")
    await ctx.checkpoint(state={"at": "the end"})
    await passed(f"{input.name} settle")
    return "the output"


@task(id="fault-counted")
async def counted(ctx: TaskContext, input: Named) -> None:
    """Counts how often it is executed, and waits for its test without a checkpoint."""
    executed[ctx.run_id] += 1
    await passed(input.name)


async def passed(gate: str) -> None:
    reached[gate].set()
    await allowed[gate].wait()


@pytest.fixture
async def proxy(settings: Settings) -> AsyncIterator[Lossy]:
    async with lossy(settings.database_url) as proxy:
        yield proxy


@pytest.fixture
def far(settings: Settings, proxy: Lossy) -> Settings:
    """Settings whose database is behind the proxy."""
    return settings.model_copy(update={"database_url": proxy.url})


@pytest.mark.parametrize(
    ("gate", "mark"),
    [
        ("save", "COMMIT"),
        ("save", "the saved state"),
        ("continue", "COMMIT"),
        ("continue", "the continued state"),
        ("settle", "COMMIT"),
        ("settle", "the output"),
    ],
)
async def test_a_write_whose_reply_was_lost_is_made_once_whether_it_was_committed_or_not(
    far: Settings, tasks: TaskService, proxy: Lossy, gate: str, mark: str
) -> None:
    name = f"{gate} {mark}"
    async with working(far):
        run = await tasks.trigger("fault-gates", input={"name": name})
        for each in ("save", "continue", "settle"):
            await asyncio.wait_for(reached[f"{name} {each}"].wait(), SOON.total_seconds())
            if each == gate:
                proxy.lose_reply_to(mark)
            allowed[f"{name} {each}"].set()
        run = await tasks.wait(run.id, timeout=SOON)
    assert proxy.lost == 1
    await assert_done_once(tasks, run)


async def test_a_claim_whose_reply_was_lost_is_kept_and_executed_once(
    far: Settings, tasks: TaskService, proxy: Lossy
) -> None:
    run = await tasks.trigger("fault-gates", input={"name": "claim"})
    for each in ("save", "continue", "settle"):
        allowed[f"claim {each}"].set()
    proxy.lose_reply_to(run.id.bytes)
    async with working(far):
        run = await tasks.wait(run.id, timeout=SOON)
    assert proxy.lost == 1
    await assert_done_once(tasks, run)


async def test_a_run_that_is_rung_for_again_goes_on_when_the_reply_to_that_claim_is_lost(
    settings: Settings, far: Settings, tasks: TaskService, proxy: Lossy
) -> None:
    doorbell = Doorbell(settings.redis_url)
    # Reapers ask for the runs by their ids as well.
    async with working(far, reap_seconds=3600.0):
        run = await tasks.trigger("fault-counted", input={"name": "again"})
        await until(reached["again"].is_set)
        proxy.lose_reply_to(run.id.bytes)
        await doorbell.ring([Ring(run.id, 0, "default", 0, clock.now())])
        # Taken after what that claim brought.
        after = await tasks.trigger("fault-nothing")
        await until_status(tasks, after.id, TaskRunStatus.SUCCEEDED)
        allowed["again"].set()
        run = await tasks.wait(run.id, timeout=SOON)
    await doorbell.close()
    assert proxy.lost == 1
    assert (run.status, run.claim_no, executed[run.id]) == (TaskRunStatus.SUCCEEDED, 1, 1)


async def test_a_run_that_settles_while_a_lost_reply_to_a_second_claim_is_made_up_for_is_executed_once(
    settings: Settings, far: Settings, tasks: TaskService, proxy: Lossy
) -> None:
    doorbell = Doorbell(settings.redis_url)
    async with working(far, reap_seconds=3600.0):
        run = await tasks.trigger("fault-counted", input={"name": "settles"})
        await until(reached["settles"].is_set)
        proxy.lose_reply_to(run.id.bytes)
        found = proxy.keep_reply_to(run.id.bytes)
        await doorbell.ring([Ring(run.id, 0, "default", 0, clock.now())])
        await until(lambda: proxy.kept)
        allowed["settles"].set()
        await tasks.wait(run.id, timeout=SOON)
        found.set()
        # Taken after what that claim brought.
        after = await tasks.trigger("fault-nothing")
        await until_status(tasks, after.id, TaskRunStatus.SUCCEEDED)
    await doorbell.close()
    assert (proxy.lost, executed[run.id]) == (1, 1)


async def test_a_run_is_not_started_by_a_claim_whose_reply_is_read_after_another_worker_has_it(
    settings: Settings, far: Settings, tasks: TaskService, proxy: Lossy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "DISOWNED_SECONDS", 0.5)
    run = await tasks.trigger("fault-counted", input={"name": "disowned"})
    read = proxy.keep_reply_to(run.id.bytes)
    async with working(far, queues=("default", "far"), reap_seconds=0.1, heartbeat_seconds=0.1):
        await until(lambda: proxy.kept)
        async with working(settings):
            await until(reached["disowned"].is_set)
            read.set()
            # Taken after what the late claim brought.
            after = await tasks.trigger("fault-nothing", queue="far")
            await until_status(tasks, after.id, TaskRunStatus.SUCCEEDED)
            allowed["disowned"].set()
            run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, executed[run.id]) == (TaskRunStatus.SUCCEEDED, 1)
    assert (await outcomes(tasks, run))[0] == "LOST"


async def test_what_a_late_claim_brought_is_given_back_at_once_when_nobody_else_has_it(
    far: Settings, tasks: TaskService, proxy: Lossy, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await tasks.trigger("fault-counted", input={"name": "late"})
    read = proxy.keep_reply_to(run.id.bytes)
    allowed["late"].set()
    async with working(far, reap_seconds=3600.0) as worker:
        await until(lambda: proxy.kept)
        # As when the lease ends and is taken again meanwhile.
        worker.engine.runner.term.end()
        worker.engine.runner.term.renew(time.monotonic() + SOON.total_seconds())
        read.set()
        run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, executed[run.id]) == (TaskRunStatus.SUCCEEDED, 1)
    assert await outcomes(tasks, run) == ["INTERRUPTED", "SUCCEEDED"]


async def assert_done_once(tasks: TaskService, run: TaskRun) -> None:
    assert (run.status, run.output, run.error) == (TaskRunStatus.SUCCEEDED, "the output", None)
    assert (run.state, run.iteration, run.claim_no) == ({"at": "the end"}, 2, 2)
    assert (run.attempt, run.interruptions) == (1, 0)
    assert await lines(tasks, run.id) == ["one", "two"]
    assert [line.sequence async for line in tasks.logs(run.id)] == [1, 2]
    assert await outcomes(tasks, run) == ["CONTINUED", "SUCCEEDED"]


async def test_a_trigger_whose_reply_was_lost_and_that_is_repeated_with_its_key_is_executed_once(
    settings: Settings, far: Settings, tasks: TaskService, proxy: Lossy
) -> None:
    request = TriggerRequest(definition_id="fault-steps", input={"steps": 3}, idempotency_key="the-key")
    async with working(settings), TaskService.connect(settings=far) as client:
        proxy.lose_reply_to("the-key")
        first = await client.submit(request)
        ended = await tasks.wait(first.run.id, timeout=SOON)
        again = await client.submit(request)
    assert proxy.lost == 1
    assert (again.run.id, again.deduplicated) == (ended.id, True)
    assert await lines(tasks, ended.id) == ["step 1", "step 2", "step 3"]
    assert await tasks.count() == 1
