"""huey: its queue, and its client."""

from __future__ import annotations

import play
from huey import RedisHuey

huey = RedisHuey(url=play.REDIS_URL, results=False)


@huey.task()
def nothing() -> None:
    """The job."""
    play.executed()


async def enqueue(count: int) -> None:
    """One after the other."""
    for _ in range(count):
        nothing()


async def main() -> None:
    """Measure."""
    await play.measure(enqueue)
