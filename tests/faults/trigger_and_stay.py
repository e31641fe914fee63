"""A process that triggers a run, tells its id once that is acknowledged, and stays until it is killed.

Its argument, if there is one, is JSON: the options of the trigger.
"""

from __future__ import annotations

import asyncio
import json
import sys

from app import TaskService
from app.registry import registry
from app.settings import get_settings


async def main() -> None:
    """Trigger ``fault-steps``; the settings come from the environment."""
    registry.load(get_settings().task_modules)
    options = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    async with TaskService.connect() as tasks:
        run = await tasks.trigger("fault-steps", input={"steps": 3, "pause": 0}, **options)
        print(run.id, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
