"""A server process and who watches runs through it, while PostgreSQL, Redis or the server itself goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from app import TaskService
from app.dev.postgres import EmbeddedPostgres
from app.dev.valkey import EmbeddedValkey
from app.events import CHANGES
from app.settings import Settings
from tests.faults.processes import worker_process
from tests.faults.subscribers import ALL_SECONDS, WAYS, Audience, LogFollower, watched
from tests.faults.test_workers_that_die import until_step
from tests.operations.processes import ServerProcess, server_process
from tests.schema.conftest import GraphQLClient
from tests.workbench import until

TASKS = {"TASKLOOM_TASKS": "tests.faults.definitions"}
LONG_LEASE = {"TASKLOOM_LEASE_SECONDS": "30"}
ABORT = "mutation ($id: ID!) { abortTask(input: { id: $id }) { __typename } }"
STATUS = "query ($id: ID!) { taskRun(id: $id) { status } }"


async def test_a_server_and_open_subscriptions_outlive_a_restart_and_a_kill_of_postgresql(
    settings: Settings, tasks: TaskService, embedded_postgres: EmbeddedPostgres
) -> None:
    async with server_process(settings, **TASKS) as server, worker_process(settings, **LONG_LEASE):
        gql = GraphQLClient(server.http)
        async with watched(server.address, await endless_run(gql)) as audience:
            for end in (embedded_postgres.stop, embedded_postgres.kill):
                await audience.hears_more(tasks)
                async with away(embedded_postgres, end):
                    assert (await gql.error(STATUS, id=audience.run_id))["code"] == "SERVICE_UNAVAILABLE"
                await audience.hears_more(tasks)
            await abort_and_execute_another(gql, audience)
        assert server.is_running
        await assert_all_was_seen_once(tasks, audience)


async def test_a_server_and_open_subscriptions_outlive_a_restart_a_kill_and_a_flush_of_redis(
    settings: Settings, tasks: TaskService, embedded_valkey: EmbeddedValkey
) -> None:
    async with server_process(settings, **TASKS) as server, worker_process(settings, **LONG_LEASE):
        gql = GraphQLClient(server.http)
        async with watched(server.address, await endless_run(gql)) as audience:
            for end in (embedded_valkey.stop, embedded_valkey.kill):
                await audience.hears_more(tasks)
                async with away(embedded_valkey, end):
                    await audience.hears_more(tasks)
                await until(lambda: is_listened_to(settings), 10)
                await audience.hears_more(tasks)
            async with Redis.from_url(settings.redis_url) as redis:
                await redis.flushall()
            await audience.hears_more(tasks)
            await abort_and_execute_another(gql, audience)
        assert server.is_running
        await assert_all_was_seen_once(tasks, audience)


async def test_who_comes_back_after_the_last_line_it_saw_misses_none_and_sees_none_twice_while_servers_are_killed(
    settings: Settings, tasks: TaskService, embedded_valkey: EmbeddedValkey
) -> None:
    async with server_process(settings, **TASKS) as server, worker_process(settings, **LONG_LEASE):
        gql = GraphQLClient(server.http)
        run_id = await endless_run(gql)
        followers = [LogFollower(way, server.address, run_id) for way in WAYS]
        async with asyncio.timeout(ALL_SECONDS), asyncio.TaskGroup() as group:
            for follower in followers:
                group.create_task(follower.follow())
            await kill_and_start_again(server, tasks, run_id, followers)
            async with away(embedded_valkey, embedded_valkey.kill):
                await kill_and_start_again(server, tasks, run_id, followers)
            await kill_and_start_again(server, tasks, run_id, followers)
            await gql(ABORT, id=run_id)
    for follower in followers:
        assert len(follower.cuts) >= 3, "each of them was cut off by each kill"
        await assert_each_line_was_seen_once(tasks, run_id, follower)


async def endless_run(gql: GraphQLClient) -> str:
    """A run that makes steps, each with a line of its log, until it is aborted."""
    triggered = await gql.trigger("fault-steps", input={"steps": 1_000_000, "pause": 0.03})
    return triggered["run"]["id"]


@asynccontextmanager
async def away(server: EmbeddedPostgres | EmbeddedValkey, end: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """PostgreSQL or Redis has ended, and is started again when the block ends."""
    try:
        await end()
        yield
    finally:
        await server.start()


async def is_listened_to(settings: Settings) -> bool:
    """Whether a server listens for changes in Redis."""
    redis: Any
    async with Redis.from_url(settings.redis_url) as redis:
        [(_, listeners)] = await redis.pubsub_numsub(CHANGES)
    return listeners == 1


async def abort_and_execute_another(gql: GraphQLClient, audience: Audience) -> None:
    """End the run; who watches all runs hears of that, and of a run that is triggered then."""
    await gql(ABORT, id=audience.run_id)
    await until(lambda: audience.times_told(audience.run_id, "ABORTED"), 20)
    another = (await gql.trigger("fault-nothing", input={}))["run"]["id"]
    await until(lambda: audience.times_told(another, "SUCCEEDED"), 20)


async def assert_all_was_seen_once(tasks: TaskService, audience: Audience) -> None:
    """Nobody had to come back, missed anything or was told of the end twice."""
    for log in audience.logs:
        assert log.cuts == []
        await assert_each_line_was_seen_once(tasks, audience.run_id, log)
    assert [run["status"] for run in audience.of_run].count("ABORTED") == 1
    assert audience.of_run[-1]["status"] == "ABORTED"
    assert audience.times_told(audience.run_id, "ABORTED") == 1


async def assert_each_line_was_seen_once(tasks: TaskService, run_id: str, follower: LogFollower) -> None:
    stored = [(line.sequence, line.message) async for line in tasks.logs(run_id)]
    assert follower.lines == stored
    assert stored == [(n, f"step {n}") for n in range(1, len(stored) + 1)]


async def kill_and_start_again(
    server: ServerProcess, tasks: TaskService, run_id: str, followers: list[LogFollower]
) -> None:
    """Kill the server while all follow the log through it; meanwhile the run writes lines that nobody is told of."""
    await all_see_more(followers)
    await server.kill()
    step = (await until_step(tasks, run_id, 1)).state["at"]
    await until_step(tasks, run_id, step + 10)
    await server.start()
    await all_see_more(followers)


async def all_see_more(followers: list[LogFollower]) -> None:
    seen = [len(follower.lines) for follower in followers]
    await until(lambda: all(len(follower.lines) > n for follower, n in zip(followers, seen, strict=True)), 20)
