"""A server as the documentation of its packages has it: Strawberry on Starlette, SQLModel on asyncpg, and arq.

Runs in an environment of its own, started by uvicorn's command. It understands what the benchmark's client sends to
ours, and stores no more than it is told. Where the documentation offers something quicker than what comes by itself,
it is used: parsed and validated documents are kept, and no connection is opened for a request.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import strawberry
from arq import ArqRedis, create_pool
from arq.connections import RedisSettings
from sqlalchemy import JSON, DateTime
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.scalars import JSON as AnyJson

AT_ONCE = 100
URL = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://", 1)
# Those that come beyond the pool's five would be opened and closed again all the time.
engine = create_async_engine(URL, pool_size=20, max_overflow=0)
sessions = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
state: dict[str, ArqRedis] = {}


def now() -> datetime:
    """The time, with a timezone."""
    return datetime.now(UTC)


class StoredRun(SQLModel, table=True):
    """One run."""

    __tablename__ = "runs"

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    definition: str
    status: str = "QUEUED"
    input: Any = Field(default=None, sa_type=JSON)
    created_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))


@strawberry.input
class TriggerTaskInput:
    """What to run."""

    definition_id: str
    input: AnyJson | None = None

    def stored(self) -> StoredRun:
        """A new row."""
        return StoredRun(definition=self.definition_id, input=self.input)


@strawberry.input
class TriggerTasksInput:
    """What to run, all of it."""

    tasks: list[TriggerTaskInput]


@strawberry.type
class TaskRun:
    """A run."""

    id: strawberry.ID
    status: str
    created_at: datetime


@strawberry.type
class TriggerTaskSuccess:
    """The new run."""

    run: TaskRun

    @classmethod
    def of(cls, run: StoredRun) -> TriggerTaskSuccess:
        """What is answered of a row."""
        return cls(run=TaskRun(id=strawberry.ID(str(run.id)), status=run.status, created_at=run.created_at))


@strawberry.type
class TriggerTasksSuccess:
    """The new runs."""

    results: list[TriggerTaskSuccess]


@strawberry.type
class Query:
    """GraphQL wants one."""

    @strawberry.field
    async def up(self) -> bool:
        """Whether the server answers."""
        return True


@strawberry.type
class Mutation:
    """Each commits its rows before it enqueues their jobs."""

    @strawberry.mutation
    async def trigger_task(self, input: TriggerTaskInput) -> TriggerTaskSuccess:
        """One row and one job."""
        run = input.stored()
        async with sessions() as session:
            session.add(run)
            await session.commit()
        await state["arq"].enqueue_job("execute", str(run.id))
        return TriggerTaskSuccess.of(run)

    @strawberry.mutation
    async def trigger_tasks(self, input: TriggerTasksInput) -> TriggerTasksSuccess:
        """All rows in one transaction, then the jobs, so many at once as connections are bearable."""
        runs = [task.stored() for task in input.tasks]
        async with sessions() as session:
            session.add_all(runs)
            await session.commit()
        for begun in range(0, len(runs), AT_ONCE):
            some = runs[begun : begun + AT_ONCE]
            await asyncio.gather(*(state["arq"].enqueue_job("execute", str(run.id)) for run in some))
        return TriggerTasksSuccess(results=[TriggerTaskSuccess.of(run) for run in runs])


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Make the table, and connect."""
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    state["arq"] = await create_pool(RedisSettings.from_dsn(os.environ["REDIS_URL"]))
    yield
    await state["arq"].aclose()
    await engine.dispose()


schema = strawberry.Schema(Query, Mutation, extensions=[ParserCache, ValidationCache])
app = Starlette(lifespan=lifespan, routes=[Route("/graphql", GraphQL(schema))])
