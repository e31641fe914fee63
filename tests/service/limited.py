"""What the tests of limits share: limited definitions of ``echo``, their runs, and who was rung for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from app import Limits, TaskRun, TaskService
from app.db import Database
from app.doorbell import Doorbell, Ring
from app.registry import Registry
from app.settings import Settings
from tests.service.conftest import Hand, Held, definition, service


@asynccontextmanager
async def limited(settings: Settings, **limits: Limits | None) -> AsyncIterator[TaskService]:
    """A service with a definition for each of these limits."""
    registry = Registry()
    for id, each in limits.items():
        registry.add(definition(id, limits=each))
    async with service(settings, registry) as tasks:
        yield tasks


async def trigger(tasks: TaskService, id: str, *keys: str, **options: Any) -> list[UUID]:
    """Trigger runs one after the other, with these texts as their input."""
    return [(await tasks.trigger(id, input={"text": key}, **options)).id for key in keys]


async def claimed(hand: Hand, limit: int = 10) -> dict[UUID, Held]:
    """Claim what is due."""
    return {held.id: held for held in await hand.claim(limit)}


async def standing(tasks: TaskService, run_ids: list[UUID]) -> list[tuple[str, str | None]]:
    """Status and reason of runs, in order."""
    runs: list[TaskRun] = [await tasks.get(run_id) for run_id in run_ids]
    return [(run.status.value, run.status_reason and run.status_reason.value) for run in runs]


async def rung(settings: Settings, tasks: TaskService, run_ids: list[UUID]) -> list[UUID]:
    """Those of the runs that their queue holds a ring for, as they stand now."""
    runs = [await tasks.get(run_id) for run_id in run_ids]
    rings = [Ring(run.id, run.claim_no, run.queue, run.priority, run.due_at or run.start_at) for run in runs]
    doorbell = Doorbell(settings.redis_url)
    try:
        missing = await doorbell.missing(rings)
    finally:
        await doorbell.close()
    return [ring.run_id for ring in rings if ring not in missing]


async def execute(db: Database, statement: str, *arguments: Any) -> Any:
    """One statement by hand."""
    async with db.autocommit() as pipe:
        return await pipe.fetch(statement, *arguments)
