"""arq: its worker settings, and its client."""

from __future__ import annotations

import os
from typing import Any

import play
from arq import create_pool
from arq.connections import RedisSettings

SERVER = RedisSettings.from_dsn(play.REDIS_URL)


async def nothing(ctx: dict[str, Any]) -> None:
    """The job."""
    play.executed()


class WorkerSettings:
    """What arq's command reads."""

    functions = (nothing,)
    redis_settings = SERVER
    max_jobs = int(os.environ["BENCH_ARQ_JOBS"])
    poll_delay = float(os.environ["BENCH_ARQ_DELAY"])
    keep_result = int(os.environ["BENCH_ARQ_KEEP"])


async def main() -> None:
    """Measure."""
    pool = await create_pool(SERVER)
    await play.measure(lambda count: play.by_hundreds(count, lambda: pool.enqueue_job("nothing")))
