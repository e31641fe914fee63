"""A Redis that takes connections and never answers, or to which a connection is dead without a word, is one away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from app import TaskService, clock, events, patience
from app.dev.http_probe import free_port
from app.dev.valkey import EmbeddedValkey
from app.doorbell import Doorbell, Ring, connect
from app.events import Events
from app.ids import new_id
from app.models import TaskRun
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.processes import worker_process
from tests.faults.test_workers_that_die import assert_nothing_lost_or_doubled, until_step
from tests.operations.processes import figure, scraped
from tests.workbench import hanging, until

SOON = timedelta(seconds=20)
CHUNK = 65536


class DarkWay:
    """A way to a server on which connections die without a word: whatever is sent on them is swallowed."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._dark = asyncio.Event()
        self.url = ""

    def darken(self) -> None:
        """Swallow what is sent on the connections that there are; new ones are well."""
        self._dark.set()
        self._dark = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        dark = self._dark
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        ways = (self._forward(reader, server_writer, dark), self._forward(server_reader, writer, dark))
        await asyncio.wait([asyncio.create_task(way) for way in ways], return_when=asyncio.FIRST_COMPLETED)
        writer.close()
        server_writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dark: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if not dark.is_set():
                    writer.write(data)
                    await writer.drain()


@asynccontextmanager
async def dark_way(socket: Path) -> AsyncIterator[DarkWay]:
    way = DarkWay(socket)
    server = await asyncio.start_server(way.handle, "127.0.0.1", 0)
    way.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    yield way
    server.close()


async def test_while_redis_hangs_runs_are_triggered_dispatched_executed_and_aborted_and_rung_for_after_it(
    settings: Settings, tasks: TaskService, embedded_valkey: EmbeddedValkey
) -> None:
    port = str(free_port("127.0.0.1", 0))
    async with worker_process(settings, TASKLOOM_METRICS_PORT=port), httpx2.AsyncClient() as http:
        with hanging(embedded_valkey):
            async with asyncio.timeout(patience.ANSWER_SECONDS / 2):
                run = await tasks.trigger("fault-steps", input={"steps": 3})
            await assert_executed_once(tasks, run)
            # From now on the worker looks into PostgreSQL all the time, and what is due is not kept waiting by a ring.
            await assert_all_are_soon_executed(tasks, await delayed(tasks))
            aborted = await tasks.trigger("fault-steps", input={"steps": 10_000})
            await until_step(tasks, aborted.id, 2)
            async with asyncio.timeout(patience.ANSWER_SECONDS * 2):
                await tasks.abort(aborted.id)
            assert (await tasks.wait(aborted.id, timeout=SOON)).status == TaskRunStatus.ABORTED
        await until(lambda: is_rung_for(tasks, http, port))
        runs = [await tasks.trigger("fault-steps", input={"steps": 3}) for _ in range(20)]
        for run in runs:
            await assert_executed_once(tasks, run)


async def delayed(tasks: TaskService) -> list[TaskRun]:
    """Runs that become due one after the other, for long enough that Redis is asked again meanwhile."""
    delays = [timedelta(seconds=n / 2) for n in range(1, 11)]
    return [await tasks.trigger("fault-steps", input={"steps": 3}, delay=delay) for delay in delays]


async def assert_all_are_soon_executed(tasks: TaskService, runs: list[TaskRun]) -> None:
    for run in runs:
        run = await assert_executed_once(tasks, run)
        assert run.started_at is not None
        assert run.started_at - run.start_at < timedelta(seconds=2)


async def assert_executed_once(tasks: TaskService, run: TaskRun) -> TaskRun:
    run = await tasks.wait(run.id, timeout=SOON)
    await assert_nothing_lost_or_doubled(tasks, run, 3)
    assert run.claim_no == 1
    return run


async def is_rung_for(tasks: TaskService, http: httpx2.AsyncClient, port: str) -> bool:
    """Whether a run that is triggered now is claimed because it was rung for."""
    before = await claimed_after_a_ring(http, port)
    run = await tasks.trigger("fault-nothing")
    await tasks.wait(run.id, timeout=SOON)
    return await claimed_after_a_ring(http, port) > before


async def claimed_after_a_ring(http: httpx2.AsyncClient, port: str) -> float:
    figures = await scraped(http, f"http://127.0.0.1:{port}/metrics")
    return figure(figures, "taskloom_runs_claimed_total", source="rung") or 0


@pytest.mark.parametrize("options", [{}, {"single_connection_client": True}], ids=["pool", "single connection"])
async def test_an_answer_that_comes_late_is_not_taken_for_the_one_to_the_next_command(
    redis_url: str, embedded_valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    redis: Any = connect(redis_url, **options)
    await redis.mset({"one": "1", "two": "2"})
    monkeypatch.setattr(patience, "ANSWER_SECONDS", 0.2)
    with hanging(embedded_valkey), pytest.raises(RedisTimeoutError, match=r"no answer within 0\.2 s"):
        await redis.get("one")
    assert await until(lambda: given(redis, "two")) == b"2"
    assert await redis.get("one") == b"1"
    await redis.aclose()


async def test_a_doorbell_that_is_closed_while_it_connects_leaves_no_connection_open(
    redis_url: str, embedded_valkey: EmbeddedValkey
) -> None:
    doorbell = Doorbell(redis_url)
    with hanging(embedded_valkey):
        ringing = asyncio.create_task(doorbell.ring([Ring(new_id(), 0, "default", 0, clock.now())]))
        # It is under way before the end.
        await asyncio.sleep(0)
        await doorbell.close()
    assert await ringing
    assert doorbell._redis.connection is None


async def given(redis: Any, key: str) -> bytes | None:
    with contextlib.suppress(RedisTimeoutError):
        return await redis.get(key)
    return None


async def test_an_answer_that_came_while_the_event_loop_was_stuck_is_not_taken_for_none(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(patience, "STUCK_SECONDS", 0.1)
    redis: Any = connect(redis_url)
    await redis.set("one", "1")
    asking = asyncio.create_task(redis.get("one"))
    # The command goes out before the loop is stuck.
    await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251 — a stuck loop is what this test is about.
    assert await asking == b"1"
    await redis.aclose()


async def test_one_that_waited_in_vain_spares_the_others(
    redis_url: str, embedded_valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "ANSWER_SECONDS", 1.0)
    told = Events(redis_url)
    with hanging(embedded_valkey):
        began = time.monotonic()
        for _ in range(5):
            await told.tell_abort([(new_id(), new_id())])
            await told.publish([new_id()])
        assert 1 <= time.monotonic() - began < 5
    await told.close()


async def test_a_listener_that_hears_nothing_keeps_its_connection(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "QUIET_SECONDS", 0.01)
    told = Events(redis_url)
    async with told.subscribe() as subscription, Redis.from_url(redis_url) as redis:
        assert await subscription.changed(10) is None, "something may have been missed before"
        await redis.config_resetstat()
        [listening] = await redis.client_list(_type="pubsub")
        await until(lambda: pinged(redis, 10))
        assert [client["id"] for client in await redis.client_list(_type="pubsub")] == [listening["id"]]
        run_id = new_id()
        await told.publish([run_id])
        assert await subscription.changed(10) == {run_id}
    await told.close()


async def pinged(redis: Redis, times: int) -> bool:
    return (await redis.info("commandstats")).get("cmdstat_ping", {"calls": 0})["calls"] >= times


async def test_a_listener_whose_connection_died_without_a_word_listens_on_a_new_one(
    embedded_valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(events, "ANSWER_SECONDS", 0.5)
    async with dark_way(embedded_valkey.socket) as way:
        told = Events(way.url)
        async with told.subscribe() as subscription:
            assert await subscription.changed(10) is None, "something may have been missed before"
            way.darken()
            assert await subscription.changed(10) is None, "something may have been missed meanwhile"
            run_id = new_id()
            await told.publish([run_id])
            assert await subscription.changed(10) == {run_id}
        await told.close()
