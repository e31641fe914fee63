"""A process that triggers a run, tells its id once that is acknowledged, and stays until it is killed."""

from __future__ import annotations

import asyncio

from app import TaskService
from app.registry import registry
from app.settings import get_settings


async def main() -> None:
    """Trigger ``fault-steps``; the settings come from the environment."""
    registry.load(get_settings().task_modules)
    async with TaskService.connect() as tasks:
        run = await tasks.trigger("fault-steps", input={"steps": 3, "pause": 0})
        print(run.id, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
