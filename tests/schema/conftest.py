"""A real server in this process, a client that speaks to it through ASGI, and task definitions to play with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
import pytest
from pydantic import BaseModel, Field
from sqlalchemy import event

from app.errors import TriggerRefused
from app.main import Server, create_app
from app.registry import Continue, registry, task
from app.retry import Retry
from app.settings import Settings
from tests.schema.hand_worker import HandWorker

TESTED = ("greet", "guarded", "secret-work", "plain")


class GreetInput(BaseModel):
    """Whom to greet, and how often."""

    whom: str = Field(min_length=1, max_length=200_000, description="A name.")
    times: int = Field(default=1, ge=1, le=10)
    mood: Literal["warm", "cool"] = "warm"


class GreetOutput(BaseModel):
    """What was said."""

    said: list[str]


@pytest.fixture(scope="session", autouse=True)
def tested_definitions() -> Iterator[None]:
    """Definitions of the tests' own, in the registry while these tests run."""

    def only_warm(input: GreetInput, principal: Any) -> None:
        if input.mood != "warm":
            raise TriggerRefused("Only warm greetings today.")

    @task(id="greet", title="Greet somebody", tags=["polite"], timeout=60, retry=Retry(max_attempts=3))
    async def greet(ctx: Any, input: GreetInput) -> GreetOutput | Continue:
        """Says hello."""
        return GreetOutput(said=[f"Hello {input.whom}"])

    @task(id="guarded", title="A guarded greeting", before_trigger=only_warm, category="Guards")
    async def guarded(ctx: Any, input: GreetInput) -> None:
        """Never runs: nothing in these tests executes task code."""

    @task(id="secret-work", title="Secret work", private=True)
    async def secret_work(ctx: Any) -> None:
        """Never runs."""

    @task(id="plain", title="Plain work", queue="slow", priority=7)
    async def plain(ctx: Any) -> None:
        """Never runs."""

    yield
    for id in TESTED:
        registry.remove(id)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[Server, httpx2.AsyncClient]]:
    """The server with its lifespan running and its definitions published, and an HTTP client in the same process."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        server: Server = app.state.server
        await server.is_published.wait()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield server, client


@pytest.fixture
async def served(settings: Settings) -> AsyncIterator[tuple[Server, httpx2.AsyncClient]]:
    """A server and its client."""
    async with serving(settings) as both:
        yield both


@pytest.fixture
def server(served: tuple[Server, httpx2.AsyncClient]) -> Server:
    """The server."""
    return served[0]


@pytest.fixture
def http(served: tuple[Server, httpx2.AsyncClient]) -> httpx2.AsyncClient:
    """An HTTP client of that server, in the same process."""
    return served[1]


class GraphQLClient:
    """Sends GraphQL as a frontend does."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def __call__(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation that must not bring errors."""
        answer = await self.answer(query, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def answer(self, query: str, **variables: Any) -> dict[str, Any]:
        """The whole answer of an operation."""
        response = await self._http.post("/graphql", json={"query": query, "variables": variables})
        return response.json()

    async def error(self, query: str, **variables: Any) -> dict[str, Any]:
        """The first error of an operation, as ``{"code": …, "message": …}``."""
        error = (await self.answer(query, **variables))["errors"][0]
        return {"code": error["extensions"]["code"], "message": error["message"]}

    async def trigger(self, definition_id: str = "greet", input: Any = None, **arguments: Any) -> dict[str, Any]:
        """The result of ``triggerTask``: the run, or the refusal."""
        given = {"definitionId": definition_id, "input": {"whom": "Ada"} if input is None else input, **arguments}
        data = await self(TRIGGER, input=given)
        return data["triggerTask"]

    async def run(self, **arguments: Any) -> str:
        """The id of a new run of ``greet``."""
        return (await self.trigger(**arguments))["run"]["id"]


TRIGGER = """
    mutation ($input: TriggerTaskInput!) {
      triggerTask(input: $input) {
        __typename
        ... on TriggerTaskSuccess { deduplicated run { id status name priority queue tags startAt createdAt
          timeoutSeconds maxAttempts expiresAt input parent { id } idempotencyKey uniqueKey
          createdBy { id kind name } } }
        ... on Error { message code path }
        ... on InvalidTaskInput { issues { path message type } }
        ... on IdempotencyConflict { runId }
        ... on UniqueConflict { runId }
        ... on ParentAborted { runId }
      }
    }"""


@pytest.fixture
def gql(http: httpx2.AsyncClient) -> GraphQLClient:
    """A GraphQL client of the server."""
    return GraphQLClient(http)


@pytest.fixture
async def worker(server: Server) -> HandWorker:
    """A live worker whose every step the test takes."""
    worker = HandWorker(server, TESTED)
    await worker.beat()
    return worker


@pytest.fixture
def statements(server: Server) -> Iterator[list[str]]:
    """Every SQL statement that the server's sessions send, as it is sent."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    engine = server.db._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)
