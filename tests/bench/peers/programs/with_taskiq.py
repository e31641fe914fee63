"""taskiq: its broker, and its client."""

from __future__ import annotations

import play
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker(play.REDIS_URL)


@broker.task(task_name="nothing")
async def nothing() -> None:
    """The job."""
    play.executed()


async def main() -> None:
    """Measure."""
    await broker.startup()
    await play.measure(lambda count: play.by_hundreds(count, lambda: nothing.kiq()))
    await broker.shutdown()
