"""dramatiq: its broker and actor, and its client."""

from __future__ import annotations

import dramatiq
import play
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=play.REDIS_URL))


@dramatiq.actor
def nothing() -> None:
    """The job."""
    play.executed()


async def enqueue(count: int) -> None:
    """One after the other."""
    for _ in range(count):
        nothing.send()


async def main() -> None:
    """Measure."""
    await play.measure(enqueue)
