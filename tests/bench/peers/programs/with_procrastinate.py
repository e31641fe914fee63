"""procrastinate: its app, and its client, which makes the tables first where it is asked to."""

from __future__ import annotations

import sys

import play
from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=play.DATABASE_URL, min_size=4, max_size=20))


@app.task(name="nothing")
async def nothing() -> None:
    """The job."""
    play.executed()


async def enqueue(count: int) -> None:
    """In batches of 1,000, by one statement each."""
    for begun in range(0, count, 1000):
        await nothing.batch_defer_async(*({} for _ in range(min(1000, count - begun))))


async def main() -> None:
    """Measure, or make the tables."""
    async with app.open_async():
        if sys.argv[2] == "prepare":
            await app.schema_manager.apply_schema_async()
        else:
            await play.measure(enqueue)
