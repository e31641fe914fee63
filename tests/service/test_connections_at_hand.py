"""The few connections for what every run needs: kept from block to block, given up where their state is in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest

from app.at_hand import AtHand
from app.db import plain_url
from app.settings import Settings
from tests.workbench import until

SLEEP = "SELECT pg_sleep(60) /* at hand */"
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE query = $1"


@pytest.fixture
async def make(settings: Settings) -> AsyncIterator[Callable[..., AtHand]]:
    made: list[AtHand] = []

    def make(size: int, **options: Any) -> AtHand:
        made.append(AtHand(size, dsn=plain_url(settings.database_url), **options))
        return made[-1]

    yield make
    for at_hand in made:
        at_hand.terminate()


@pytest.fixture
async def look(settings: Settings) -> AsyncIterator[Any]:
    connection: Any = await asyncpg.connect(plain_url(settings.database_url))
    yield connection
    await connection.close()


async def process(at_hand: AtHand) -> int:
    """The server's process behind the connection that comes next."""
    async with at_hand.connection() as connection:
        return await connection.fetchval("SELECT pg_backend_pid()")


async def test_a_connection_is_used_again(make: Callable[..., AtHand]) -> None:
    at_hand = make(4)
    assert await process(at_hand) == await process(at_hand)


async def test_who_finds_no_connection_free_waits_for_one(make: Callable[..., AtHand]) -> None:
    at_hand = make(2)
    async with at_hand.connection() as first, at_hand.connection() as second:
        third = asyncio.create_task(process(at_hand))
        pids = [await connection.fetchval("SELECT pg_backend_pid()") for connection in (first, second)]
        assert not third.done()
    assert await third in pids


async def test_a_refused_statement_costs_no_connection_and_leaves_no_transaction(make: Callable[..., AtHand]) -> None:
    at_hand = make(1)
    before = await process(at_hand)
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with at_hand.connection() as connection, connection.transaction():
            await connection.execute("SELECT 1 / 0")
    async with at_hand.connection() as connection:
        assert not connection.is_in_transaction()
    assert await process(at_hand) == before


async def test_a_statement_whose_caller_is_cancelled_is_called_off_and_its_connection_closed(
    make: Callable[..., AtHand], look: Any
) -> None:
    at_hand = make(1)

    async def sleep() -> None:
        async with at_hand.connection() as connection:
            await connection.execute(SLEEP)

    async def asleep() -> bool:
        return bool(await look.fetchval(CONNECTED, SLEEP))

    async def gone() -> bool:
        return not await asleep()

    sleeping = asyncio.create_task(sleep())
    await until(asleep)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    await until(gone)
    assert await process(at_hand)


async def test_a_connection_that_the_server_closed_is_not_given_out_again(
    make: Callable[..., AtHand], look: Any
) -> None:
    at_hand = make(1)
    async with at_hand.connection() as connection:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
    await look.execute(f"SELECT pg_terminate_backend({pid})")
    await until(connection.is_closed)
    assert await process(at_hand) != pid


async def test_a_connection_that_nobody_uses_is_closed(make: Callable[..., AtHand]) -> None:
    at_hand = make(1, unused_seconds=0.05)
    async with at_hand.connection() as connection:
        pass
    await until(connection.is_closed)


async def test_ending_closes_connections_in_use_too(make: Callable[..., AtHand], look: Any) -> None:
    at_hand = make(2)
    await process(at_hand)
    async with at_hand.connection() as in_use:
        async with at_hand.connection() as unused:
            pass
        at_hand.terminate()
        assert in_use.is_closed()
        assert unused.is_closed()
