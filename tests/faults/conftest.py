"""The service that the fault tests look through."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app import TaskService
from app.registry import registry
from app.settings import Settings
from tests.faults import definitions

assert definitions


@pytest.fixture
async def tasks(settings: Settings) -> AsyncIterator[TaskService]:
    """The service on the test's servers, with the definitions of the fault tests."""
    assert registry.get("fault-steps")
    async with TaskService.connect(settings=settings) as service:
        yield service
