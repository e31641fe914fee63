"""saq, on Redis or on PostgreSQL: its worker settings, and its client."""

from __future__ import annotations

import os
from typing import Any

import play
from saq import Queue


def _queue() -> Queue:
    if os.environ["BENCH_SAQ"] == "postgres":
        return Queue.from_url(play.DATABASE_URL)
    from redis.asyncio import Redis
    from saq.queue.redis import RedisQueue

    # Not from its URL, because saq knows no Unix sockets.
    return RedisQueue(Redis.from_url(play.REDIS_URL))


queue = _queue()


async def nothing(ctx: dict[str, Any]) -> None:
    """The job."""
    play.executed()


settings = {"queue": queue, "functions": [nothing], "concurrency": 100}


async def main() -> None:
    """Measure."""
    await queue.connect()
    await play.measure(lambda count: play.by_hundreds(count, lambda: queue.enqueue("nothing")))
    await queue.disconnect()
