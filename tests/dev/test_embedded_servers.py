"""The embedded PostgreSQL and Valkey: real servers that outlive nobody and lose nothing."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

import asyncpg
from arq.connections import RedisSettings, create_pool
from redis.asyncio import Redis

if TYPE_CHECKING:
    from app.dev.postgres import EmbeddedPostgres
    from app.dev.valkey import EmbeddedValkey


async def _fetch(url: str, statement: str) -> Any:
    connection: Any = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_postgres_keeps_committed_rows_when_it_is_killed(embedded_postgres: EmbeddedPostgres) -> None:
    url = embedded_postgres.url_of("postgres")
    await _fetch(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    await embedded_postgres.kill()
    assert not embedded_postgres.running

    await embedded_postgres.start()

    assert await _fetch(url, "SELECT answer FROM kept") == 42


async def test_postgres_has_the_same_url_after_a_restart(embedded_postgres: EmbeddedPostgres) -> None:
    before = embedded_postgres.url, embedded_postgres.pid

    await embedded_postgres.restart()

    assert embedded_postgres.url == before[0]
    assert embedded_postgres.pid != before[1]
    assert await _fetch(embedded_postgres.url, "SELECT 1") == 1


async def test_postgres_can_search_by_trigrams_in_every_language(embedded_postgres: EmbeddedPostgres) -> None:
    url = embedded_postgres.url_of("postgres")
    await _fetch(url, "CREATE EXTENSION IF NOT EXISTS pg_trgm")

    assert await _fetch(url, "SELECT word_similarity('größe', 'die GRÖSSE und die Größe') > 0.9")
    assert await _fetch(url, "SELECT upper('été') = 'ÉTÉ'")


async def test_only_the_servers_own_user_reaches_their_sockets(
    embedded_postgres: EmbeddedPostgres, embedded_valkey: EmbeddedValkey
) -> None:
    for home in (embedded_postgres.home, embedded_valkey.home):
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert await _fetch(embedded_postgres.url, "SHOW listen_addresses") == ""
    async with Redis.from_url(embedded_valkey.url) as redis:
        assert (await redis.config_get("port"))["port"] == "0"


async def test_valkey_takes_redis_py_and_arq_by_its_url(embedded_valkey: EmbeddedValkey) -> None:
    async with Redis.from_url(embedded_valkey.url) as redis:
        assert await redis.ping()
    pool = await create_pool(RedisSettings.from_dsn(embedded_valkey.url))
    assert await pool.ping()
    await pool.aclose()


async def test_valkey_for_tests_is_empty_after_a_restart(embedded_valkey: EmbeddedValkey) -> None:
    async with Redis.from_url(embedded_valkey.url) as redis:
        await redis.set("key", "value")
    await embedded_valkey.kill()
    await embedded_valkey.start()
    async with Redis.from_url(embedded_valkey.url) as redis:
        assert await redis.get("key") is None


async def test_a_start_leaves_a_running_server_as_it_is(
    embedded_postgres: EmbeddedPostgres, embedded_valkey: EmbeddedValkey
) -> None:
    for server in (embedded_postgres, embedded_valkey):
        before = server.pid

        await server.start()

        assert server.running
        assert server.pid == before


async def test_a_server_that_outlived_its_starter_is_ended_by_the_next_start(
    embedded_postgres: EmbeddedPostgres, embedded_valkey: EmbeddedValkey
) -> None:
    for server in (embedded_postgres, embedded_valkey):
        successor = type(server)(server.home, durable=False)
        await successor.start()
        await server.wait()
        await successor.stop()
        await server.start()
