"""The service that these tests look through, with the definitions of the fault tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app import TaskService
from app.settings import Settings
from tests.faults import definitions

assert definitions


@pytest.fixture
async def tasks(settings: Settings) -> AsyncIterator[TaskService]:
    """The service on the test's servers."""
    async with TaskService.connect(settings=settings) as service:
        yield service
