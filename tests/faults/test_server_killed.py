"""A server that dies after it has stored a run, while it rings for it: the run is executed all the same."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from redis.asyncio import Redis

from app import TaskService
from app.registry import registry
from app.settings import SHIPPED_TASKS, Settings
from tests.faults.processes import ROOT, environment, worker_process
from tests.faults.test_workers_that_die import assert_nothing_lost_or_doubled
from tests.operations.processes import server_process
from tests.schema.conftest import GraphQLClient
from tests.service.scheduled import execute
from tests.workbench import until, working

SOON = timedelta(seconds=60)
WRONG_HOURS = (0, 2, -2)
TASKS = {"TASKLOOM_TASKS": "tests.faults.definitions"}
# An abort of a batch is carried out by one of these, whichever tests came before.
registry.load([SHIPPED_TASKS])


class DeafRedis:
    """Takes connections and commands, and never answers: whoever rings here waits."""

    def __init__(self) -> None:
        self.url = ""
        self.called = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        while await reader.read(65536):
            self.called.set()
        writer.close()


@asynccontextmanager
async def deaf_redis() -> AsyncIterator[DeafRedis]:
    deaf = DeafRedis()
    server = await asyncio.start_server(deaf.handle, "127.0.0.1", 0)
    deaf.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    yield deaf
    server.close()


async def test_runs_whose_server_was_killed_between_commit_and_ring_are_executed(
    settings: Settings, tasks: TaskService
) -> None:
    """Also those that seem not to wait yet: a server with a wrong clock stored them, or a clock was put right."""
    run_ids = await triggered_by_a_server_killed_while_it_rings(settings, len(WRONG_HOURS))
    for run_id, hours in zip(run_ids, WRONG_HOURS, strict=True):
        wrong = f"status_changed_at = status_changed_at + interval '{hours} hours'"
        await execute(settings, f"UPDATE task_runs SET {wrong} WHERE id = $1", run_id)
    async with Redis.from_url(settings.redis_url) as redis:
        assert await redis.dbsize() == 0
    async with worker_process(settings):
        for run_id in run_ids:
            await assert_nothing_lost_or_doubled(tasks, await tasks.wait(run_id, timeout=SOON), 3)


async def test_a_batch_whose_server_was_killed_before_it_was_sealed_is_sealed_with_the_runs_that_are_there(
    settings: Settings, tasks: TaskService
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.batch_and_stay",
        env=environment(settings), cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            batch_id = UUID((await process.stdout.readline()).decode().strip())
    finally:
        process.kill()
        await process.wait()
    await tasks.batches.complete_due()
    assert (await tasks.batches.get(batch_id)).sealed_at is None, "its server might go on"
    await execute(settings, "UPDATE batches SET created_at = now() - interval '6 minutes'")

    async def is_sealed() -> bool:
        return (await tasks.batches.get(batch_id)).sealed_at is not None

    async with working(settings, dispatch_seconds=0.05):
        await until(is_sealed)
    batch = await tasks.batches.get(batch_id)
    assert (batch.total, batch.completed_at) == (3, None)
    assert (await tasks.batches.abort(batch_id)).done == 3


async def triggered_by_a_server_killed_while_it_rings(settings: Settings, number: int) -> list[UUID]:
    """Runs that a server has acknowledged, whose rings it was about to send when it was killed."""
    async with deaf_redis() as deaf:
        async with server_process(settings.model_copy(update={"redis_url": deaf.url}), **TASKS) as server:
            # At its start it asks whether Redis is there, which is over by now; what comes next are rings.
            deaf.called.clear()
            gql = GraphQLClient(server.http)
            triggered = [await gql.trigger("fault-steps", input={"steps": 3, "pause": 0}) for _ in range(number)]
            async with asyncio.timeout(20):
                await deaf.called.wait()
            await server.kill()
        return [UUID(success["run"]["id"]) for success in triggered]
