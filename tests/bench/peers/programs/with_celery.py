"""celery: its app, and its client."""

from __future__ import annotations

import play
from celery import Celery

app = Celery("bench", broker=play.REDIS_URL.replace("unix://", "redis+socket://"))
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)


@app.task(name="nothing")
def nothing() -> None:
    """The job."""
    play.executed()


async def enqueue(count: int) -> None:
    """One after the other."""
    for _ in range(count):
        nothing.delay()


async def main() -> None:
    """Measure."""
    await play.measure(enqueue)
