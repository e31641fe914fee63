"""A process that follows all runs and tells id and status of each change, a line each, until it is killed."""

from __future__ import annotations

import asyncio

from app import TaskService


async def main() -> None:
    """Follow; the settings come from the environment."""
    async with TaskService.connect() as tasks:
        async for run in tasks.watch_all():
            print(run.id, run.status, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
