"""One repetition of one contestant: a peer's worker and client on servers emptied for it, or our own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from tests.bench import measures, processor_time
from tests.bench.bed import Bed
from tests.bench.peers.catalogue import Peer
from tests.bench.peers.environment import Unavailable

PROGRAMS = Path(__file__).parent / "programs"
CLIENT_SECONDS = 200.0
STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Result:
    """Jobs a second, microseconds of processor time a job by process, and milliseconds of each start."""

    rate: float
    microseconds: dict[str, float]
    starts: list[float]


@dataclass(frozen=True)
class Ours:
    """Taskloom as a contestant, by one of the definitions of the benchmark."""

    name: str
    definition_id: str
    jobs: int
    settings: str
    keeps: str

    async def play(self, bed: Bed, starts: int) -> Result:
        """One repetition."""
        async with bed.worker() as worker:
            pids = {**bed.pids, "worker": worker.pid}
            measured = await measures.throughput(bed, pids, self.definition_id, self.jobs)
            found = await measures.starts_by_service(bed, starts)
        return Result(measured.rate, measured.microseconds, found)


OURS = (
    Ours(
        "Taskloom, no log lines", "bench-silent", 20_000, "bulk triggers of 1,000",
        "run, status and times, iteration, in PostgreSQL",
    ),
    Ours(
        "Taskloom, 3 log lines", "bench-nothing", 20_000, "bulk triggers of 1,000",
        "the same and 3 log lines, in PostgreSQL",
    ),
)  # fmt: skip


async def play(peer: Peer, bed: Bed, commands: Path, starts: int) -> Result:
    """One repetition of a peer. Raises ``Unavailable`` with its last words when it does not do its work."""
    async with emptied(bed) as variables:
        playing = _Playing(peer, bed, commands, {**variables, **peer.variables})
        if peer.prepares:
            await playing.answers(await playing.client("prepare"))
        return await playing.result(starts)


class _Playing:
    """The processes of a peer during one repetition."""

    def __init__(self, peer: Peer, bed: Bed, commands: Path, variables: dict[str, str]) -> None:
        self._peer = peer
        self._bed = bed
        self._commands = commands
        self._environment = {**os.environ, **variables}
        self._log = bed.home / f"{peer.name}.log"

    async def result(self, starts: int) -> Result:
        """What the peer reaches; as soon as its worker has ended it is known that there will be nothing."""
        worker = await self._started(*self._peer.worker)
        measuring, ended = asyncio.create_task(self._measured(worker, starts)), asyncio.create_task(worker.wait())
        try:
            await asyncio.wait({measuring, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not measuring.done():
                raise self._unavailable()
            return await measuring
        finally:
            for task in (measuring, ended):
                task.cancel()
            await asyncio.gather(measuring, ended, return_exceptions=True)
            await stopped(worker)

    async def _measured(self, worker: asyncio.subprocess.Process, starts: int) -> Result:
        pids = {**self._bed.pids, "worker": worker.pid}
        jobs = self._peer.jobs
        client = await self.client(str(jobs), str(starts))
        assert client.stdout is not None
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                await client.stdout.readline()
                before = processor_time.used(pids)
                throughput = await client.stdout.readline()
                microseconds = processor_time.since(before, pids, jobs)
                told, each_start = json.loads(throughput), json.loads(await self.answers(client))
        except (TimeoutError, json.JSONDecodeError):
            raise self._unavailable() from None
        finally:
            await stopped(client)
        microseconds[processor_time.OURSELVES] = 1e6 * told["client"] / jobs
        return Result(jobs / told["seconds"], microseconds, each_start)

    async def client(self, *arguments: str) -> asyncio.subprocess.Process:
        """The peer's program as a client whose answers are read."""
        command = ("python", str(PROGRAMS / "client.py"), self._peer.program, *arguments)
        return await self._started(*command, stdout=asyncio.subprocess.PIPE)

    async def answers(self, client: asyncio.subprocess.Process) -> bytes:
        """What a client prints until it ends."""
        output, _ = await client.communicate()
        if client.returncode:
            raise self._unavailable()
        return output

    async def _started(self, command: str, *arguments: str, stdout: int | None = None) -> asyncio.subprocess.Process:
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                self._commands / command, *arguments, cwd=PROGRAMS, env=self._environment,
                stdout=stdout or log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _unavailable(self) -> Unavailable:
        return unavailable(self._log)


def unavailable(log: Path) -> Unavailable:
    """Why a peer cannot be measured, by its last words."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return Unavailable(f"it did not do its work; the end of its log says: {' / '.join(lines[-3:])[-400:]}")


async def stopped(process: asyncio.subprocess.Process) -> None:
    """End a process with all that it has started; what does not end by itself soon is killed."""
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


@asynccontextmanager
async def emptied(bed: Bed) -> AsyncGenerator[dict[str, str]]:
    """A database of the peer's own, an empty Valkey and an empty record; as variables for the peer's processes."""
    async with Redis.from_url(bed.settings.redis_url) as redis:
        await redis.flushall()
    record = bed.home / "record"
    record.unlink(missing_ok=True)
    await bed.look.execute("DROP DATABASE IF EXISTS peer WITH (FORCE)")
    await bed.look.execute("CREATE DATABASE peer")
    await bed.look.execute("CHECKPOINT")
    url = bed.servers.postgres.url_of("peer")
    try:
        yield {
            "DATABASE_URL": url, "REDIS_URL": bed.settings.redis_url, "BENCH_RECORD": str(record),
            "PYTHONPATH": str(PROGRAMS), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
    finally:
        with contextlib.suppress(asyncpg.PostgresError):
            await bed.look.execute("DROP DATABASE IF EXISTS peer WITH (FORCE)")
