"""The command on the test's servers, and a worker on this event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app import TaskService
from app.settings import Settings
from tests.cli import definitions
from tests.cli.command import Command
from tests.cli.forked import ForkedCommand
from tests.workbench import working
from workers.worker import TaskloomWorker

assert definitions


@pytest.fixture
def taskloom(settings: Settings) -> Command:
    """The command, which finds the test's servers."""
    return ForkedCommand(settings)


@pytest.fixture
async def tasks(settings: Settings) -> AsyncIterator[TaskService]:
    """The service on the same servers."""
    async with TaskService.connect(settings=settings) as service:
        yield service


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[TaskloomWorker]:
    """A worker that executes what the command triggers."""
    async with working(settings, dispatch_seconds=0.05) as worker:
        yield worker
