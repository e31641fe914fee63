"""The shipped definitions, and a service and a worker to execute them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app import TaskService
from app.registry import registry
from app.settings import SHIPPED_TASKS, Settings
from tests.workbench import working
from tests.workers.conftest import tasks
from workers.worker import TaskloomWorker

__all__ = ["tasks", "worker"]

registry.load([SHIPPED_TASKS])


@pytest.fixture
async def worker(settings: Settings, tasks: TaskService) -> AsyncIterator[TaskloomWorker]:
    """A worker that executes what the tests trigger, and lets nobody wait a second for a second attempt."""
    async with working(settings, dispatch_seconds=0.05) as worker:
        yield worker
