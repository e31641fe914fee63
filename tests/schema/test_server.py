"""The HTTP server around the schema: health, who may reach it, and what it does while PostgreSQL or Redis is away."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.dev.postgres import EmbeddedPostgres
from app.dev.valkey import EmbeddedValkey
from app.hosts import UnsafeHost, check_host, is_loopback
from app.main import Server, create_app
from app.settings import Settings
from tests.schema.conftest import TRIGGER, GraphQLClient, serving
from tests.schema.live import PATIENCE_SECONDS
from tests.schema.test_trigger_tasks import BULK
from tests.workbench import hanging, until

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def test_a_server_that_is_up_and_ready_says_so(http: httpx2.AsyncClient) -> None:
    for path, status in (("/healthz", "up"), ("/readyz", "ready")):
        response = await http.get(path)
        assert (response.status_code, response.json()) == (200, {"status": status})


async def test_the_root_leads_to_graphiql(http: httpx2.AsyncClient) -> None:
    response = await http.get("/")
    assert (response.status_code, response.headers["location"]) == (307, "/graphql")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_permission(host: str) -> None:
    assert is_loopback(host)
    check_host(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com", ""])
def test_another_host_is_refused_unless_everybody_may_come_in(host: str) -> None:
    with pytest.raises(UnsafeHost, match="TASKLOOM_ALLOW_ANONYMOUS=1"):
        check_host(Settings(host=host))
    check_host(Settings(host=host, allow_anonymous=True))


async def test_a_page_that_points_its_own_name_at_loopback_gets_nothing(
    http: httpx2.AsyncClient, settings: Settings
) -> None:
    elsewhere = {"host": "evil.example:8000", "origin": "http://evil.example:8000"}
    body = {"query": "{ viewer { version } }"}
    assert (await http.post("/graphql", json=body, headers=elsewhere)).status_code == 400
    for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
        assert (await http.post("/graphql", json=body, headers={"host": host})).status_code == 200
    async with serving(settings.model_copy(update={"allow_anonymous": True})) as (_, open_http):
        assert (await open_http.post("/graphql", json=body, headers=elsewhere)).status_code == 200


async def test_a_server_that_starts_before_its_database_waits_with_one_line_and_goes_on(
    settings: Settings, embedded_postgres: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "taskloom.server")
    await embedded_postgres.stop()
    try:
        app = create_app(settings)
        server: Server = app.state.server
        async with app.router.lifespan_context(app), client(app) as http:
            await until(lambda: "does not answer (DATABASE_URL)" in caplog.text)
            assert (await http.get("/healthz")).status_code == 200
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "waiting")
            refused = await GraphQLClient(http).answer("{ taskRuns { totalCount } }")
            assert refused["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"
            await embedded_postgres.start()
            await asyncio.wait_for(server.is_published.wait(), PATIENCE_SECONDS)
            assert (await http.get("/readyz")).json() == {"status": "ready"}
            assert (await GraphQLClient(http).trigger())["__typename"] == "TriggerTaskSuccess"
    finally:
        await embedded_postgres.start()
    lines = [record.getMessage() for record in caplog.records if record.name == "taskloom.server"]
    assert lines[-1] == "The database is ready."
    assert len(lines) == 2


async def test_a_database_that_goes_away_later_is_named_and_comes_back(
    gql: GraphQLClient, http: httpx2.AsyncClient, embedded_postgres: EmbeddedPostgres
) -> None:
    run = await gql.run()
    await embedded_postgres.stop()
    try:
        item = {"definitionId": "greet", "input": {"whom": "Ada"}}
        for query, variables in (
            ("query ($id: ID!) { taskRun(id: $id) { id } }", {"id": run}),
            (TRIGGER, {"input": item}),
            # Nothing of the batch is stored, so that it is refused as a whole.
            (BULK, {"input": {"tasks": [item, item]}}),
        ):
            error = await gql.error(query, **variables)
            assert error["code"] == "SERVICE_UNAVAILABLE"
            assert "database" in error["message"]
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/healthz")).status_code == 200
    finally:
        await embedded_postgres.start()
    await until(lambda: answers(http))
    assert (await gql("query ($id: ID!) { taskRun(id: $id) { id } }", id=run))["taskRun"] == {"id": run}


async def test_without_redis_everything_works_and_one_line_says_so(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    away = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    async with serving(away) as (_, http):
        gql = GraphQLClient(http)
        id = await gql.run()
        assert (await gql("query ($id: ID!) { taskRun(id: $id) { status } }", id=id))["taskRun"]["status"] == "QUEUED"
        assert (await http.get("/readyz")).status_code == 200
    assert caplog.text.count("does not answer (REDIS_URL)") == 1


async def test_a_server_that_starts_while_redis_hangs_is_ready_and_one_line_says_so(
    settings: Settings, embedded_valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(settings)
    with hanging(embedded_valkey):
        async with app.router.lifespan_context(app), client(app) as http:
            await until(lambda: answers(http), 20)
            gql = GraphQLClient(http)
            id = await gql.run()
            asked = await gql("query ($id: ID!) { taskRun(id: $id) { status } }", id=id)
            assert asked["taskRun"]["status"] == "QUEUED"
    assert caplog.text.count("does not answer (REDIS_URL)") == 1


async def test_a_database_without_tables_is_waited_for_with_what_to_do(
    settings: Settings, postgres_server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(settings.model_copy(update={"database_url": postgres_server_url}))
    async with app.router.lifespan_context(app), client(app) as http:
        await until(lambda: "run `taskloom migrate`" in caplog.text)
        assert "run `taskloom migrate`" in (await http.get("/readyz")).json()["reason"]


async def test_serve_listens_answers_and_stops_on_sigterm(settings: Settings) -> None:
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from app.main import serve; serve()", cwd=ROOT, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            await until(lambda: answers(http))
            assert (await GraphQLClient(http)("{ viewer { version } }"))["viewer"]["version"]
        process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    assert b"POST /graphql" not in output
    assert b"Traceback" not in output


def client(app: Any) -> httpx2.AsyncClient:
    """A client of an application in this process."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1")


async def answers(http: httpx2.AsyncClient) -> bool:
    """Whether the server is ready."""
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx2.TransportError:
        return False
