"""Redis away for a minute: long enough for every retry, limit and chore to come round several times."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from redis.asyncio import Redis

from app import TaskRunStatus, TaskService
from app.dev.valkey import EmbeddedValkey
from app.doorbell import queue_key
from app.settings import Settings
from tests.faults.processes import two_workers
from tests.faults.test_workers_that_die import assert_nothing_lost_or_doubled, until_step
from tests.workbench import until

SECONDS = 60
SOON = timedelta(seconds=10)


async def test_runs_start_within_seconds_all_the_while_and_by_rings_again_after_it(
    settings: Settings, tasks: TaskService, embedded_valkey: EmbeddedValkey
) -> None:
    async with two_workers(settings):
        long = await tasks.trigger("fault-steps", input={"steps": 10_000, "pause": 0.05})
        late = await tasks.trigger("fault-steps", input={"steps": 2}, delay=timedelta(seconds=SECONDS / 2))
        await until_step(tasks, long.id, 2)
        await embedded_valkey.kill()
        try:
            until_back = time.monotonic() + SECONDS
            while time.monotonic() < until_back:
                run = await tasks.trigger("fault-steps", input={"steps": 2})
                await assert_nothing_lost_or_doubled(tasks, await tasks.wait(run.id, timeout=SOON), 2)
                # The pace of the load; nothing is waited for.
                await asyncio.sleep(0.5)
            await assert_nothing_lost_or_doubled(tasks, await tasks.wait(late.id, timeout=SOON), 2)
            await tasks.abort(long.id)
            assert (await tasks.wait(long.id, timeout=SOON)).status is TaskRunStatus.ABORTED
        finally:
            await embedded_valkey.start()
        after = await tasks.trigger("fault-steps", input={"steps": 2})
        await assert_nothing_lost_or_doubled(tasks, await tasks.wait(after.id, timeout=SOON), 2)
        async with Redis.from_url(settings.redis_url) as redis:

            async def is_listened_to() -> bool:
                return any(client["cmd"] == "bzpopmin" for client in await redis.client_list())

            await until(is_listened_to)
            assert await redis.zcard(queue_key("default")) == 0
    long = await tasks.get(long.id)
    assert (long.attempt, long.interruptions) == (1, 0)
