"""The measurements, one function each; all times are of one machine's clock."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import orjson

from app import TriggerRequest
from app.states import TaskRunStatus
from tests.bench import processor_time
from tests.bench.bed import ROOT, Bed, until
from tests.bench.http_client import ABORT, TRIGGER, Connection, encoded, operation

RUNS = 20_000
COMPUTING = 3_000
BULK = 1_000
BULKS = 20
CLIENTS = 64
HTTP_SECONDS = 4.0
STARTS = 150
ABORTS = 40
PAUSE_SECONDS = 0.015
LONG_PAUSE_SECONDS = (0.02, 0.52)
LOOK_SECONDS = 0.05
LINES = {"bench-nothing": 3, "bench-silent": 0, "bench-compute": 0}
UNFINISHED = "SELECT EXISTS (SELECT FROM task_runs WHERE status IN ('QUEUED', 'RUNNING'))"


@dataclass(frozen=True)
class Throughput:
    """Runs a second, and the microseconds of processor time that one run took, by process."""

    rate: float
    microseconds: dict[str, float]

    @property
    def processors(self) -> float:
        """How many processors were busy on average, of all processes whose time was taken."""
        return self.rate * sum(self.microseconds.values()) / 1e6


async def throughput(
    bed: Bed, pids: Mapping[str, int], definition_id: str = "bench-nothing", runs: int = 0
) -> Throughput:
    """Runs a second, from the first of the bulk triggers of 1,000 to the last final run.

    ``pids`` are the processes whose time is taken too, ``runs`` how many (``RUNS``).
    """
    runs = runs or RUNS
    await bed.clear()
    before = processor_time.used(pids)
    start = time.perf_counter()
    for begun in range(0, runs, BULK):
        await bed.tasks.submit_many([TriggerRequest(definition_id=definition_id)] * min(BULK, runs - begun))
    await until(partial(_all_final, bed), LOOK_SECONDS)
    measured = Throughput(runs / (time.perf_counter() - start), processor_time.since(before, pids, runs))
    succeeded = "SELECT count(*) FROM task_runs WHERE status = 'SUCCEEDED'"
    assert await bed.look.fetchval(succeeded) == runs
    lines = LINES[definition_id] * runs
    assert await bed.look.fetchval("SELECT sum(log_count) FROM task_runs") == lines
    assert await bed.look.fetchval("SELECT count(*) FROM task_logs") == lines
    return measured


async def _all_final(bed: Bed) -> bool:
    return not await bed.look.fetchval(UNFINISHED)


async def bulk_triggers(bed: Bed) -> float:
    """Runs a second that ``submit_many`` of 1,000 stores and rings, one call after the other, without a worker."""
    await bed.clear()
    requests = [TriggerRequest(definition_id="bench-nothing")] * BULK
    await bed.tasks.submit_many(requests)
    await bed.tasks.finish_telling()
    start = time.perf_counter()
    for _ in range(BULKS):
        await bed.tasks.submit_many(requests)
    await bed.tasks.finish_telling()
    seconds = time.perf_counter() - start
    assert await bed.look.fetchval("SELECT count(*) FROM task_runs") == BULK * (BULKS + 1)
    return BULK * BULKS / seconds


async def http_triggers(bed: Bed, port: int) -> float:
    """``triggerTask`` mutations a second by 64 keep-alive clients in a process of their own, without a worker."""
    await bed.clear()
    return await http_load(port)


async def http_load(port: int, clients: int = CLIENTS, bulk: int = 1, seconds: float = HTTP_SECONDS) -> float:
    """Runs a second that keep-alive clients trigger, ``bulk`` with each request."""
    arguments = (port, clients, seconds, "bench-nothing", bulk)
    command = ("-m", "tests.bench.http_client", *map(str, arguments))
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return float(output)


async def starts(bed: Bed, port: int) -> list[float]:
    """Milliseconds from a ``triggerTask`` mutation sent to the first line of the task's code, on an idle system."""
    await bed.clear()
    connection = await Connection.open(port)
    sent: dict[UUID, float] = {}
    with closing(connection):
        mutation = _trigger("bench-first-line")
        for _ in range(STARTS):
            await asyncio.sleep(PAUSE_SECONDS)
            at = time.time()
            sent[_triggered_run(await connection.ask(mutation))] = at
    return await _waits(bed, sent)


async def starts_by_service(bed: Bed, starts: int) -> list[float]:
    """Milliseconds from ``TaskService.submit`` called to the first line of the task's code, on an idle system."""
    await bed.clear()
    sent: dict[UUID, float] = {}
    for _ in range(starts):
        await asyncio.sleep(random.uniform(*LONG_PAUSE_SECONDS))
        at = time.time()
        sent[(await bed.tasks.trigger("bench-first-line")).id] = at
    return await _waits(bed, sent)


async def _waits(bed: Bed, sent: Mapping[UUID, float]) -> list[float]:
    """Milliseconds from the moment in which each run was asked for to the one that it has as its output."""
    await until(partial(_all_final, bed))
    rows = await bed.look.fetch("SELECT id, output::float8 AS output FROM task_runs")
    return [1000 * (row["output"] - sent[row["id"]]) for row in rows]


async def lines(bed: Bed, port: int) -> list[float]:
    """Milliseconds from a log line written to the line seen by a subscriber over server-sent events."""
    await bed.clear()
    connection = await Connection.open(port)
    with closing(connection):
        run_id = await _triggered(connection, "bench-talk")
    found: list[float] = []
    async with aclosing(_events(port, run_id)) as events:
        async for message in events:
            found.append(1000 * (time.time() - float(message.removeprefix("at "))))
    return found


async def aborts(bed: Bed, port: int) -> list[float]:
    """Milliseconds from an ``abortTask`` mutation sent to the run seen ABORTED by who watches it."""
    await bed.clear()
    connection = await Connection.open(port)
    found: list[float] = []
    with closing(connection):
        for _ in range(ABORTS):
            run_id = await _triggered(connection, "bench-checkpoints")
            async with aclosing(bed.tasks.watch(run_id)) as changes:
                async for run in changes:
                    if run.status is TaskRunStatus.RUNNING:
                        break
                # A moment that falls anywhere between two checkpoints.
                await asyncio.sleep(PAUSE_SECONDS + 0.0007 * (len(found) % 15))
                at = time.time()
                asked = connection.ask(encoded("POST", "/graphql", operation(ABORT, input={"id": str(run_id)})))
                async for run in changes:
                    if run.status is TaskRunStatus.ABORTED:
                        found.append(1000 * (time.time() - at))
                await asked
    return found


async def _triggered(connection: Connection, definition_id: str) -> UUID:
    return _triggered_run(await connection.ask(_trigger(definition_id)))


def _trigger(definition_id: str) -> bytes:
    return encoded("POST", "/graphql", operation(TRIGGER, input={"definitionId": definition_id}))


def _triggered_run(answer: bytes) -> UUID:
    return UUID(orjson.loads(answer)["data"]["triggerTask"]["run"]["id"])


async def _events(port: int, run_id: UUID) -> AsyncGenerator[str]:
    """The messages of a run's log, live."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    document = "subscription ($id: ID!) { taskLogAdded(runId: $id) { message } }"
    writer.write(encoded("POST", "/graphql", operation(document, id=str(run_id)), "text/event-stream"))
    with closing(writer):
        while line := await reader.readline():
            if line.startswith(b"event: complete"):
                return
            if line.startswith(b"data:") and len(line) > 10:
                yield _message(orjson.loads(line[5:]))


def _message(payload: Any) -> str:
    return payload["data"]["taskLogAdded"]["message"]
