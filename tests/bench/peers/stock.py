"""A stock server beside ours: the same client triggers on both in turns, on the same databases, without a worker."""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import asyncpg
from arq.constants import default_queue_name
from redis.asyncio import Redis

from app.dev.http_probe import free_port
from tests.bench import measures, processor_time
from tests.bench.bed import Bed, Process, until
from tests.bench.http_client import operation, request
from tests.bench.peers.contest import PROGRAMS, emptied, stopped, unavailable
from tests.bench.report import number

NAME = "stock"
REQUIREMENTS = (
    "strawberry-graphql==0.341.2", "starlette==1.10.0", "uvicorn[standard]==0.54.0", "sqlmodel==0.0.50",
    "sqlalchemy[asyncio]==2.1.9", "asyncpg==0.32.0", "arq==0.28.0", "redis[hiredis]==5.3.1",
)  # fmt: skip
TITLE = "A stock server beside ours: `make bench-peers`"
HEADINGS = (
    "Runs triggered a second", "Ours", "Stock", "Ours to it", "CPU of a run, ours (µs)", "CPU of a run, stock (µs)"
)  # fmt: skip
ONE = f"`triggerTask` over HTTP, {measures.CLIENTS} clients"
BULK = f"`triggerTasks` of {measures.BULK:,} over HTTP, one client"
SERVICE = "the same by `TaskService.submit_many`; stock: over HTTP"
REQUESTS = {ONE: (measures.CLIENTS, 1), BULK: (1, measures.BULK)}
"""How many clients send them, and how many runs each of them triggers."""


class Triggered(NamedTuple):
    """Runs triggered a second, and microseconds of processor time of one by process."""

    rate: float
    microseconds: Mapping[str, float]


@dataclass
class Pair:
    """What one load gave, repetition after repetition."""

    name: str
    ours: list[Triggered] = field(default_factory=list)
    stock: list[Triggered] = field(default_factory=list)

    def row(self) -> tuple[str, ...]:
        """Its cells."""
        ours, stock = _rate(self.ours), _rate(self.stock)
        return (self.name, number(ours), number(stock), f"{ours / stock:.1f}", _shares(self.ours), _shares(self.stock))


async def measured(bed: Bed, commands: Path, repetitions: int, seconds: float = measures.HTTP_SECONDS) -> list[Pair]:
    """All requests to both servers in turns, each time on servers just started and on empty tables.

    Raises ``Unavailable`` with the last words of the stock server when it does not do its work.
    """
    pairs = {name: Pair(name) for name in REQUESTS}
    service = Pair(SERVICE, stock=pairs[BULK].stock)
    for _ in range(repetitions):
        for name, (clients, bulk) in REQUESTS.items():
            pairs[name].ours.append(await ours(bed, clients, bulk, seconds))
            pairs[name].stock.append(await stock(bed, commands, clients, bulk, seconds))
        service.ours.append(await _by_service(bed))
    return [*pairs.values(), service]


async def ours(bed: Bed, clients: int, bulk: int, seconds: float) -> Triggered:
    """What our server does."""
    await bed.clear()
    async with bed.server() as server:
        return await _triggered(bed, server, bed.look, "task_runs", clients, bulk, seconds)


async def stock(bed: Bed, commands: Path, clients: int, bulk: int, seconds: float) -> Triggered:
    """What the stock server does."""
    async with emptied(bed) as variables, _served(bed, commands, variables) as server:
        look = await asyncpg.connect(variables["DATABASE_URL"])
        try:
            return await _triggered(bed, server, look, "runs", clients, bulk, seconds)
        finally:
            await look.close()


async def _by_service(bed: Bed) -> Triggered:
    await bed.clear()
    before = processor_time.used(bed.pids)
    rate = await measures.bulk_triggers(bed)
    return Triggered(rate, processor_time.since(before, bed.pids, measures.BULK * (measures.BULKS + 1)))


async def _triggered(
    bed: Bed, server: Process, look: asyncpg.Connection, table: str, clients: int, bulk: int, seconds: float
) -> Triggered:
    """The rate by what was answered; the processor time by all rows, as soon as each of them is rung for."""
    pids = {**bed.pids, "server": server.pid}
    before = processor_time.used(pids)
    rate = await measures.http_load(server.port, clients, bulk, seconds)
    rows = await look.fetchval(f"SELECT count(*) FROM {table}")
    async with Redis.from_url(bed.settings.redis_url) as redis:

        async def all_rung() -> bool:
            return await redis.zcard(default_queue_name) == rows

        await until(all_rung)
    microseconds = processor_time.since(before, pids, rows)
    return Triggered(rate, {name: value for name, value in microseconds.items() if name in pids})


@asynccontextmanager
async def _served(bed: Bed, commands: Path, variables: Mapping[str, str]) -> AsyncGenerator[Process]:
    """The stock server, ready; with its documented command, but for a line of log for each request."""
    port, log = free_port("127.0.0.1", 0), bed.home / "stock.log"
    command = (commands / "uvicorn", "stock_server:app", "--port", str(port), "--no-access-log")
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=PROGRAMS, env={**os.environ, **variables}, stdout=file, stderr=file, start_new_session=True
        )

    async def is_ready() -> bool:
        if process.returncode is not None:
            raise unavailable(log)
        try:
            return b'"up"' in await request(port, "POST", "/graphql", operation("{ up }"))
        except OSError:
            return False

    try:
        await until(is_ready)
        yield Process(process.pid, port)
    finally:
        await stopped(process)


def _rate(found: Sequence[Triggered]) -> float:
    return statistics.median(each.rate for each in found)


def _shares(found: Sequence[Triggered]) -> str:
    names = found[0].microseconds
    medians = {name: statistics.median(each.microseconds[name] for each in found) for name in names}
    return ", ".join(f"{name} {number(value)}" for name, value in medians.items())


def conditions(repetitions: int) -> list[str]:
    """What the figures depend on."""
    return [
        f"Medians of {repetitions} interleaved repetitions of {measures.HTTP_SECONDS:.0f} s, each with a server "
        "process just started, empty tables and no worker. One client process sends the same bytes to both, over "
        "keep-alive connections; the answers have the ids of all runs.",
        f"Stock: {', '.join(REQUIREMENTS)}.",
        "It is one uvicorn process without access log. Strawberry has its ParserCache and ValidationCache. Each "
        "request has a session of its own, from a pool of 20 connections, and commits; many rows go by add_all. After "
        "that an arq job is enqueued for each, 100 at once, all as arq does it by default. Its table has id, "
        "definition, status, input and created_at, and no index but its key; no input is checked beyond its type.",
        "Ours: one server process, everything is the default. Input, limits of queues and keys are checked, and a row "
        "is all that a run needs until its end, with the indexes of lists and claims. What comes at the same time is "
        "stored, and rung for, together.",
        f"submit_many: {measures.BULKS} calls one after the other, until all have been rung for, in the process that "
        "is called client here.",
        "CPU: user and system time of a process and its children until the last run has been rung for, divided by "
        "all runs of the measurement, its warm-up included. Without that of who sends requests.",
    ]
