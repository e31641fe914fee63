"""The benchmark's own tests: the measurements on the servers of the tests, with next to nothing to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from app import TaskService
from app.db import plain_url
from app.dev.postgres import EmbeddedPostgres
from app.dev.valkey import EmbeddedValkey
from app.settings import Settings
from tests.bench.bed import Bed, Servers, publish_definitions


@pytest.fixture
async def bed(
    settings: Settings, server_home: Path, embedded_postgres: EmbeddedPostgres, embedded_valkey: EmbeddedValkey
) -> AsyncIterator[Bed]:
    """A bed on the servers of the tests, which are not durable."""
    await publish_definitions(settings)
    look = await asyncpg.connect(plain_url(settings.database_url))
    async with TaskService.connect(settings=settings) as tasks:
        yield Bed(Servers(server_home, embedded_postgres, embedded_valkey), settings, tasks, look)
    await look.close()
