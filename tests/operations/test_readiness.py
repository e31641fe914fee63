"""``/readyz`` and requests while PostgreSQL is frozen, turns the server away, or has the tables of another version."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from app import db, migrations, readiness
from app.db import plain_url
from app.dev.postgres import EmbeddedPostgres
from app.main import Server, create_app
from app.settings import Settings
from tests.operations.outages import as_role, frozen, role_with_password
from tests.service.test_partitions import upgrade
from tests.workbench import until

PROBES = 30


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[tuple[Server, httpx2.AsyncClient]]:
    """A server in this process, ready or not, and a client of it."""
    app = create_app(settings)
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as http,
    ):
        yield app.state.server, http


async def reason(http: httpx2.AsyncClient) -> str:
    """Why the server is not ready; empty when it is."""
    response = await http.get("/readyz")
    return "" if response.status_code == 200 else response.json()["reason"]


async def is_said(http: httpx2.AsyncClient, words: str) -> bool:
    return words in await reason(http)


async def is_ready(http: httpx2.AsyncClient) -> bool:
    return not await reason(http)


async def count_runs(http: httpx2.AsyncClient) -> dict[str, Any]:
    """The answer to a question that takes a connection."""
    return (await http.post("/graphql", json={"query": "{ taskRuns { totalCount } }"})).json()


async def execute(url: str, statement: str) -> None:
    connection: Any = await asyncpg.connect(plain_url(url))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_probes_of_a_frozen_postgresql_are_answered_in_time_and_take_one_connection_at_the_most(
    settings: Settings, embedded_postgres: EmbeddedPostgres
) -> None:
    async with started(settings) as (server, http):
        await until(lambda: is_ready(http))
        assert "errors" not in await count_runs(http)
        async with frozen(embedded_postgres), asyncio.timeout(20):
            for _ in range(3):
                began = time.monotonic()
                reasons = await asyncio.gather(*(reason(http) for _ in range(PROBES)))
                assert time.monotonic() - began < readiness.ANSWER_SECONDS + 1
                assert all(said.startswith("PostgreSQL did not answer within") for said in reasons), reasons
            assert server.db._engine.pool.checkedout() == 0  # type: ignore[attr-defined]
            assert server.db._at_hand._places._value >= db.BY_KEYS_SIZE - 1
        await until(lambda: is_ready(http))
        answers = await asyncio.gather(*(count_runs(http) for _ in range(settings.database_pool_size)))
        assert all("errors" not in answer for answer in answers)


async def test_requests_are_refused_when_postgresql_stays_frozen_and_answered_when_it_goes_on(
    settings: Settings, embedded_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(db, "CONNECT_SECONDS", 1.0)
    size = 2
    quick = settings.model_copy(update={"query_seconds": 0.5, "database_pool_size": size})
    async with started(quick) as (server, http):
        await until(lambda: is_ready(http))
        await asyncio.gather(*(count_runs(http) for _ in range(size)))
        async with frozen(embedded_postgres), asyncio.timeout(20):
            for answer in await asyncio.gather(*(count_runs(http) for _ in range(size + 1))):
                assert answer["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"
        assert server.db._engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        answers = await asyncio.gather(*(count_runs(http) for _ in range(size)))
        assert all("errors" not in answer for answer in answers)


async def test_metrics_are_told_while_postgresql_is_frozen(
    settings: Settings, embedded_postgres: EmbeddedPostgres
) -> None:
    async with started(settings) as (_, http):
        await until(lambda: is_ready(http))
        assert "taskloom_database_up 1.0" in (await http.get("/metrics")).text
        # What was told last is told again for a second, whatever has happened.
        async with frozen(embedded_postgres), asyncio.timeout(20):
            await until(lambda: told_away(http))


async def told_away(http: httpx2.AsyncClient) -> bool:
    return "taskloom_database_up 0.0" in (await http.get("/metrics")).text


async def test_a_wrong_password_is_named_once_and_waited_out(
    settings: Settings, embedded_postgres: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    async with role_with_password(embedded_postgres, "ada", "before") as owner:
        url = as_role(settings.database_url, "ada", "sesame")
        async with started(settings.model_copy(update={"database_url": url})) as (_, http):
            await until(lambda: "refuses the connection" in caplog.text)
            assert 'refuses the connection: password authentication failed for user "ada"' in await reason(http)
            assert (await count_runs(http))["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"
            await owner.execute("ALTER ROLE ada PASSWORD 'sesame'")
            await until(lambda: is_ready(http))
            assert "errors" not in await count_runs(http)
    assert caplog.text.count("refuses the connection") == 1
    assert "sesame" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_password_that_is_changed_later_makes_the_server_unready_with_the_reason(
    settings: Settings, embedded_postgres: EmbeddedPostgres
) -> None:
    async with role_with_password(embedded_postgres, "ada", "sesame") as owner:
        url = as_role(settings.database_url, "ada", "sesame")
        async with started(settings.model_copy(update={"database_url": url})) as (_, http):
            await until(lambda: is_ready(http))
            await owner.execute("ALTER ROLE ada PASSWORD 'after'")
            await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ada'")
            await until(lambda: says(http, 'refuses the connection: password authentication failed for user "ada"'))


async def says(http: httpx2.AsyncClient, words: str) -> bool:
    return words in await reason(http)


async def test_a_database_that_is_not_there_is_named_and_waited_for(
    settings: Settings, fresh_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "taskloom.server")
    url = fresh_database_url.replace("taskloom_test_", "taskloom_gone_")
    name = urlsplit(url).path[1:]
    try:
        async with started(settings.model_copy(update={"database_url": url})) as (_, http):
            await until(lambda: f'refuses the connection: database "{name}" does not exist' in caplog.text)
            assert "does not exist" in await reason(http)
            await migrations.create_database(url)
            await until(lambda: says(http, "run `taskloom migrate`"))
            await migrations.upgrade(url)
            await until(lambda: is_ready(http))
    finally:
        await execute(settings.database_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    assert "The database is ready." in caplog.text


async def test_a_database_that_is_read_only_by_a_setting_is_named_and_used_when_the_setting_is_gone(
    settings: Settings, fresh_database_url: str
) -> None:
    await migrations.upgrade(fresh_database_url)
    name = urlsplit(fresh_database_url).path[1:]
    owner: Any = await asyncpg.connect(settings.database_url)
    await owner.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    async with started(settings.model_copy(update={"database_url": fresh_database_url})) as (_, http):
        await until(lambda: is_said(http, "read-only by a setting"))
        await owner.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        await until(lambda: is_ready(http))
    await owner.close()


async def test_what_nobody_has_thought_of_is_logged_with_its_traceback_and_tried_again(
    settings: Settings, fresh_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await migrations.upgrade(fresh_database_url)
    await execute(fresh_database_url, "ALTER TABLE task_definitions ADD CONSTRAINT never CHECK (false)")
    async with started(settings.model_copy(update={"database_url": fresh_database_url})) as (_, http):
        await until(lambda: says(http, "The definitions cannot be published: "))
        assert 'violates check constraint "never"' in await reason(http)
        await execute(fresh_database_url, "ALTER TABLE task_definitions DROP CONSTRAINT never")
        await until(lambda: is_ready(http))
    assert caplog.text.count("The definitions cannot be published") == 1
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("version", ["0008", "0019"])
async def test_a_server_waits_for_tables_that_are_older_than_it(
    settings: Settings, fresh_database_url: str, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    await upgrade(fresh_database_url, version)
    async with started(settings.model_copy(update={"database_url": fresh_database_url})) as (_, http):
        await until(lambda: "run `taskloom migrate`" in caplog.text)
        assert "run `taskloom migrate`" in await reason(http)
        await migrations.upgrade(fresh_database_url)
        await until(lambda: is_ready(http))


async def test_a_server_works_on_with_tables_that_are_newer_than_it(
    settings: Settings, fresh_database_url: str
) -> None:
    await migrations.upgrade(fresh_database_url)
    await execute(fresh_database_url, "UPDATE alembic_version SET version_num = '9999'")
    async with started(settings.model_copy(update={"database_url": fresh_database_url})) as (_, http):
        await until(lambda: is_ready(http))
