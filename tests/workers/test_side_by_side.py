"""Two claims and two flushes of one worker side by side, while there is more to do than fits into one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app import TaskService, TriggerRequest, metrics
from app.dev.valkey import EmbeddedValkey
from app.models import TaskRun
from app.registry import Definition, Registry
from app.settings import Settings
from app.states import TaskRunStatus
from tests.workbench import connected, lines, until, until_status, working
from workers import TaskContext, recorder
from workers.recorder import FLUSH_LIMIT
from workers.worker import CLAIM_LIMIT, CLAIMS_AT_ONCE

WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ~ $1"""
SLOTS = CLAIM_LIMIT + 100
CLAIM, WRITE = "WITH chosen", "WITH (given|rule)"


class Crowd:
    """Definitions whose code goes on when it is allowed to: ``short`` does nothing else, ``chatty`` logs before."""

    def __init__(self) -> None:
        self.executed = self.most_at_once = self._at_once = 0
        self.allowed, self.may_log, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.registry = Registry()
        for id, function in (("short", self.short), ("chatty", self.chatty)):
            self.registry.add(Definition(id=id, function=function, title=id.title(), input_type=None))

    async def short(self, ctx: TaskContext) -> None:
        self.executed += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self.allowed.wait()
        finally:
            self._at_once -= 1

    def let_go(self) -> None:
        """Let those go on that are executed now, and no others."""
        self.allowed.set()
        self.allowed = asyncio.Event()

    async def chatty(self, ctx: TaskContext) -> None:
        self.executed += 1
        await self.may_log.wait()
        ctx.log.info("before")
        await self.may_end.wait()
        ctx.log.info("after")


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


async def trigger_many(tasks: TaskService, number: int) -> None:
    """Trigger and ring for so many runs of ``short``."""
    await tasks.submit_many([TriggerRequest(definition_id="short")] * number)
    await tasks.finish_telling()


async def count(connection: Any, status: TaskRunStatus) -> int:
    """How many runs stand in a status."""
    return await connection.fetchval("SELECT count(*) FROM task_runs WHERE status = $1", status.value)


async def all_succeeded(connection: Any, number: int) -> None:
    """Waits until all runs have succeeded, which were claimed once each."""

    async def ended() -> bool:
        return await count(connection, TaskRunStatus.SUCCEEDED) == number

    await until(ended)
    assert await connection.fetchval("SELECT max(claim_no) FROM task_runs") == 1


async def test_claims_side_by_side_take_no_more_runs_than_there_are_slots(
    settings: Settings, tasks: TaskService, crowd: Crowd
) -> None:
    async with connected(settings) as look, working(settings, crowd.registry, concurrency=SLOTS) as worker:
        await trigger_unclaimable(tasks, look, crowd, 3 * CLAIM_LIMIT)
        await until(lambda: waiting(look, CLAIM, CLAIMS_AT_ONCE))
        await look.execute("COMMIT")
        await until(lambda: crowd.executed == 2 * SLOTS)
        assert worker.engine.runner.free == 0
        crowd.let_go()
        crowd.allowed.set()
        await all_succeeded(look, SLOTS + 3 * CLAIM_LIMIT)
    assert crowd.most_at_once == SLOTS


async def test_what_is_looked_up_while_redis_is_away_waits_for_the_claims_under_way(
    settings: Settings, tasks: TaskService, crowd: Crowd, embedded_valkey: EmbeddedValkey
) -> None:
    async with connected(settings) as look, working(settings, crowd.registry, concurrency=SLOTS) as worker:
        await trigger_unclaimable(tasks, look, crowd, CLAIM_LIMIT)
        await until(lambda: waiting(look, CLAIM, 1))
        await embedded_valkey.kill()
        try:
            await until(lambda: not metrics.DOORBELL_UP.collect()[0].samples[0].value)
            assert len(worker._claims) == 1
            await look.execute("COMMIT")
            crowd.allowed.set()
            await all_succeeded(look, SLOTS + CLAIM_LIMIT)
        finally:
            await embedded_valkey.start()


async def test_a_worker_that_drains_executes_what_the_claims_under_way_bring(
    settings: Settings, tasks: TaskService, crowd: Crowd
) -> None:
    async with connected(settings) as look:
        async with working(settings, crowd.registry, concurrency=SLOTS, drain_seconds=30.0) as worker:
            await trigger_unclaimable(tasks, look, crowd, SLOTS)
            crowd.allowed.set()
            await until(lambda: waiting(look, CLAIM, CLAIMS_AT_ONCE))
            worker.drain()
            await look.execute("COMMIT")
        await all_succeeded(look, 2 * SLOTS)


async def test_what_does_not_fit_into_the_next_flush_does_not_wait_for_it(
    settings: Settings, tasks: TaskService, crowd: Crowd
) -> None:
    crowd.may_end.set()
    slots = 3 * FLUSH_LIMIT
    async with (
        working(settings, crowd.registry, concurrency=slots),
        connected(settings) as look,
        connected(settings) as other,
    ):
        first = await locked_while_it_logs(tasks, other, crowd)
        await trigger_many(tasks, 2 * FLUSH_LIMIT)
        await until(lambda: crowd.executed == 2 * FLUSH_LIMIT)
        crowd.allowed.set()

        async def the_rest_is_settled() -> bool:
            return await count(look, TaskRunStatus.SUCCEEDED) == FLUSH_LIMIT

        await until(the_rest_is_settled)
        assert (await tasks.get(first.id)).status is TaskRunStatus.RUNNING
        await other.execute("COMMIT")
        await all_succeeded(look, 2 * FLUSH_LIMIT + 1)


async def test_what_a_run_writes_while_it_is_being_written_stays_behind_that(
    settings: Settings, tasks: TaskService, crowd: Crowd
) -> None:
    async with (
        working(settings, crowd.registry, concurrency=3 * FLUSH_LIMIT) as worker,
        connected(settings) as look,
        connected(settings) as other,
    ):
        first = await locked_while_it_logs(tasks, other, crowd)
        await trigger_many(tasks, FLUSH_LIMIT)
        await until(lambda: crowd.executed == FLUSH_LIMIT)
        crowd.allowed.set()
        await until(lambda: worker.engine.runner.executing == 1)
        # What comes now does not fit into the next flush any more, and may not go out beside the one under way.
        crowd.may_end.set()
        await until(lambda: worker.engine.runner.executing == 0)
        await other.execute("COMMIT")
        await until_status(tasks, first.id, TaskRunStatus.SUCCEEDED)
        assert await lines(tasks, first.id) == ["before", "after"]
        await all_succeeded(look, FLUSH_LIMIT + 1)


async def test_states_and_outputs_that_are_too_large_for_one_flush_go_out_with_several(
    settings: Settings, tasks: TaskService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "FLUSH_CHARACTERS", 1000)
    allowed, executed, registry = asyncio.Event(), [0], Registry()

    async def large(_ctx: TaskContext) -> str:
        executed[0] += 1
        await allowed.wait()
        return "x" * 600

    registry.add(Definition("large", large, "Large"))
    async with working(settings, registry), connected(settings) as look:
        await tasks.submit_many([TriggerRequest(definition_id="large")] * 6)
        await until(lambda: executed == [6])
        allowed.set()
        await all_succeeded(look, 6)
        at_once = await look.fetch("SELECT count(*) FROM task_runs GROUP BY finished_at")
    assert [row["count"] for row in at_once] == [2, 2, 2]


async def trigger_unclaimable(tasks: TaskService, connection: Any, crowd: Crowd, number: int) -> None:
    """Empty all slots while as many runs are rung for, whose claims have to wait until ``connection`` commits."""
    await trigger_many(tasks, SLOTS)
    await until(lambda: crowd.executed == SLOTS)
    await trigger_many(tasks, number)
    await connection.execute("BEGIN")
    await connection.execute("LOCK TABLE workers")
    crowd.let_go()


async def locked_while_it_logs(tasks: TaskService, connection: Any, crowd: Crowd) -> TaskRun:
    """A run of ``chatty`` that is being written, which has to wait until ``connection`` commits."""
    run = await tasks.trigger("chatty")
    await until(lambda: crowd.executed)
    crowd.executed = 0
    await connection.execute("BEGIN")
    await connection.execute("SELECT FROM task_runs WHERE id = $1 FOR UPDATE", run.id)
    crowd.may_log.set()
    await until(lambda: waiting(connection, WRITE, 1))
    return run


async def waiting(connection: Any, statement: str, number: int) -> bool:
    """Whether so many of these statements wait for a lock."""
    # Inside a transaction, each look would show what the first one saw.
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    return await connection.fetchval(WAITING, statement) == number
