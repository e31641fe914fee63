"""A service on real servers, definitions of its own, and a worker whose every step a test takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from pydantic import BaseModel, Field

from app import TaskService, clock, states
from app.auth import Principal
from app.db import Database
from app.doorbell import Doorbell
from app.errors import TriggerRefused
from app.events import Events
from app.leases import Claimant, Write
from app.lifecycle import Lifecycle, Recorded
from app.limits import Limits
from app.registry import Definition, Registry
from app.settings import Settings
from app.states import Move

NO_LIMITS: Mapping[str, Limits] = {}


class EchoInput(BaseModel):
    text: str = ""
    count: int = Field(default=1, ge=1, le=10)


async def echo(ctx: Any, input: EchoInput) -> str:
    raise AssertionError("no run is executed here")


async def guard(input: EchoInput, principal: Principal) -> None:
    if input.text == "bad":
        raise TriggerRefused("Not today.")
    if input.text == "crash":
        raise RuntimeError("secret details")


def plain_guard(input: EchoInput, principal: Principal) -> None:
    raise TriggerRefused(f"{principal.name} may not.")


def definition(id: str, **changes: Any) -> Definition:
    """A definition of ``echo``."""
    return Definition(**{"id": id, "function": echo, "title": id.title(), "input_type": EchoInput, **changes})


def definitions() -> Registry:
    """The definitions of these tests."""
    registry = Registry()
    registry.add(definition("echo", queue="quick", priority=5, timeout=60.0, max_iterations=500))
    registry.add(definition("no-input", input_type=None))
    registry.add(definition("hidden", private=True))
    registry.add(definition("guarded", before_trigger=guard))
    registry.add(definition("plainly-guarded", before_trigger=plain_guard))
    return registry


@asynccontextmanager
async def service(settings: Settings, registry: Registry) -> AsyncIterator[TaskService]:
    """A service that has loaded just these definitions."""
    db = Database(settings.database_url, pool_size=5)
    doorbell, events = Doorbell(settings.redis_url), Events(settings.redis_url)
    tasks = TaskService(db, doorbell, events, settings, registry)
    try:
        yield tasks
    finally:
        await tasks.finish_telling()
        await events.close()
        await doorbell.close()
        await db.close()


@pytest.fixture
def registry() -> Registry:
    return definitions()


@pytest.fixture
async def tasks(settings: Settings, registry: Registry) -> AsyncIterator[TaskService]:
    async with service(settings, registry) as tasks:
        yield tasks


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings.database_url, pool_size=5)
    yield database
    await database.close()


@dataclass
class Held:
    """A run that the hand worker holds."""

    lifecycle: Lifecycle
    row: Any
    writes: int
    lines: int
    levels: dict[str, int] = field(default_factory=dict)

    @property
    def id(self) -> UUID:
        return self.row["id"]

    async def write(self, *messages: str, level: str = "INFO", state: Any = None, move: Move | None = None) -> None:
        """One write: log lines, a state, and a move that ends the attempt."""
        now = clock.now()
        numbered = list(enumerate(messages, self.lines + 1))
        rows = [
            (self.id, n, self.row["iteration"], self.row["attempt"], level, text, None, now) for n, text in numbered
        ]
        counts = tuple(len(messages) if name == level else 0 for name in ("DEBUG", "INFO", "WARNING", "ERROR"))
        text = None if state is None else orjson.dumps(state).decode()
        write = Write(self.id, self.row["claim_no"], self.writes, state=text, move=move, logs=rows, levels=counts)  # type: ignore[arg-type]
        [answer] = await self.lifecycle.record([write])
        assert isinstance(answer, Recorded), answer
        assert answer.accepted
        self.writes += 1
        self.lines += len(messages)


class Hand:
    """A worker that claims what it is told to and executes nothing."""

    def __init__(self, lifecycle: Lifecycle, claimant: Claimant) -> None:
        self.lifecycle = lifecycle
        self.owner = claimant.owner
        self._has_lived = False

    async def claim(self, limit: int = 1) -> list[Held]:
        """Claim the next due runs; the first time with a new lease, because nobody claims without one."""
        if not self._has_lived:
            await self.live()
        rows = await self.lifecycle.claim_next(limit)
        return [Held(self.lifecycle, row, row["write_no"], row["log_count"]) for row in rows]

    async def live(self, *, draining: bool = False) -> None:
        """Register, or renew the lease."""
        await self.lifecycle.beat("host", 4711, 10, 0, draining=draining)
        self._has_lived = True


@pytest.fixture
async def hire(settings: Settings) -> AsyncIterator[Callable[..., Hand]]:
    """Makes hand workers."""
    db, doorbell, events = Database(settings.database_url), Doorbell(settings.redis_url), Events(settings.redis_url)

    def make(
        *definition_ids: str,
        limits: Mapping[str, Limits] = NO_LIMITS,
        database: Database = db,
        queues: tuple[str, ...] = ("default", "quick"),
    ) -> Hand:
        served = (*(definition_ids or ("echo", "no-input")), *limits)
        claimant = Claimant(uuid4(), "host:4711", queues, served, limits)
        return Hand(Lifecycle(database, doorbell, events, settings, claimant), claimant)

    yield make
    await events.close()
    await doorbell.close()
    await db.close()


@pytest.fixture
async def hand(hire: Callable[..., Hand]) -> Hand:
    """A worker, alive."""
    worker = hire()
    await worker.live()
    return worker


SUCCEED = states.succeed('"done"')
