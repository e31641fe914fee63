"""A process that triggers a batch, tells its id once the runs are stored, and stays until it is killed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from app import TaskService, TriggerRequest, batches
from app.registry import registry
from app.settings import get_settings


async def tell_and_stay(_pipe: Any, batch_id: UUID, _total: int) -> None:
    """In the place of sealing the batch."""
    print(batch_id, flush=True)
    await asyncio.Event().wait()


async def main() -> None:
    """Trigger three runs that start in an hour; the settings come from the environment."""
    batches.seal = tell_and_stay
    registry.load(get_settings().task_modules)
    async with TaskService.connect() as tasks:
        later = TriggerRequest(definition_id="fault-steps", input={"steps": 1, "pause": 0}, delay=timedelta(hours=1))
        await tasks.batches.trigger([later] * 3)


if __name__ == "__main__":
    asyncio.run(main())
