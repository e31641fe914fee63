"""Random faults, one after another, drawn from a seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from redis.asyncio import Redis

from tests.chaos import history
from tests.chaos.cluster import WORKERS, Cluster, end, send

COMMIT = "COMMIT"
ANY_STATEMENT = "S\x00\x00\x00\x04"
"""PostgreSQL's Sync message, which ends every prepared statement that is sent: claims and saves among them."""
PAUSE_SECONDS = (0.1, 1.2)
FROZEN_SECONDS = (1.8, 3.5)
AWAY_SECONDS = (1.0, 4.0)


class Disorder:
    """Does harm until it is told to stop; ``repair`` then puts everything right again."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.exit_codes: Counter[int] = Counter()
        self.deserters: list[int] = []
        self._cluster = cluster
        self._random = random.Random(f"faults {seed}")
        self._under_way: set[asyncio.Task[None]] = set()
        self._servers = asyncio.Lock()
        self._faults: dict[Callable[[], Awaitable[None]], int] = {
            self.kill: 3, self.terminate: 3, self.freeze: 5, self.cut: 4, self.lose_replies: 6, self.restart: 1,
            self.crash: 1, self.flush: 2, self.kill_valkey: 1, self.valkey_away: 1,
        }  # fmt: skip

    async def go_on(self, seconds: float) -> None:
        """One fault after another for so long."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(self._random.uniform(*PAUSE_SECONDS))
            await self._replace_the_dead()
            [fault] = self._random.choices(list(self._faults), list(self._faults.values()))
            await fault()
            self.done[getattr(fault, "__name__", "fault")] += 1

    async def repair(self) -> None:
        """Wait until faults under way are over, and start what is missing."""
        await asyncio.gather(*self._under_way)
        await self._replace_the_dead()

    async def _replace_the_dead(self) -> None:
        """Workers that ended without having been asked to: each breaks a promise."""
        for worker in [worker for worker in self._cluster.workers if worker.returncode is not None]:
            self.deserters.append(worker.returncode or 0)
            await self._cluster.replace(worker, signal.SIGKILL)

    # Workers.

    async def kill(self) -> None:
        """SIGKILL."""
        await self._cluster.replace(self._worker(), signal.SIGKILL)

    async def terminate(self) -> None:
        """SIGTERM, and every other time a second one shortly after."""
        worker, twice, soon = self._worker(), self._random.random() < 0.5, self._random.uniform(0.0, 0.5)

        async def drained() -> None:
            ending = asyncio.create_task(self._cluster.replace(worker, signal.SIGTERM))
            await asyncio.sleep(soon)
            if twice:
                send(worker, signal.SIGTERM)
            self.exit_codes[await ending] += 1

        self._meanwhile(drained())

    async def freeze(self) -> None:
        """SIGSTOP for longer than the lease, of some workers at once; then SIGCONT."""
        frozen = self._random.sample(self._cluster.workers, self._random.randint(1, WORKERS))
        seconds = self._random.uniform(*FROZEN_SECONDS)

        async def thawed() -> None:
            await asyncio.sleep(seconds)
            for worker in frozen:
                send(worker, signal.SIGCONT)

        for worker in frozen:
            send(worker, signal.SIGSTOP)
        self._meanwhile(thawed())

    def _worker(self) -> asyncio.subprocess.Process:
        return self._random.choice(self._cluster.grown_up or self._cluster.workers)

    # PostgreSQL.

    async def cut(self) -> None:
        """``pg_terminate_backend`` on everybody, some times in a row."""
        times = self._random.randint(1, 6)
        with contextlib.suppress(Exception):
            connection = await history.connect(self._cluster.postgres.url)
            for _ in range(times):
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
                )
                await asyncio.sleep(0.05)
            await connection.close()

    async def lose_replies(self) -> None:
        """PostgreSQL does what it is asked, and the one who asked never hears."""
        for _ in range(self._random.randint(1, 8)):
            proxy = self._random.choice((self._cluster.for_workers, self._cluster.for_clients))
            proxy.lose_reply_to(self._random.choice((COMMIT, ANY_STATEMENT)))
            await asyncio.sleep(0.03)

    async def restart(self) -> None:
        """A clean restart of PostgreSQL."""
        await self._cluster.postgres.restart()

    async def crash(self) -> None:
        """SIGKILL for PostgreSQL; the next start recovers."""
        await self._cluster.postgres.kill()
        await self._cluster.postgres.start()

    # Valkey.

    async def flush(self) -> None:
        """FLUSHALL."""
        async with self._servers, Redis.from_url(self._cluster.valkey.url) as redis:
            await redis.flushall()

    async def kill_valkey(self) -> None:
        """SIGKILL for Valkey, which loses all it has, and a new start."""
        async with self._servers:
            await self._cluster.valkey.kill()
            await self._cluster.valkey.start()

    async def valkey_away(self) -> None:
        """Valkey is gone for some seconds, while other faults go on."""
        seconds = self._random.uniform(*AWAY_SECONDS)

        async def gone() -> None:
            async with self._servers:
                await self._cluster.valkey.kill()
                await asyncio.sleep(seconds)
                await self._cluster.valkey.start()

        self._meanwhile(gone())

    def _meanwhile(self, fault: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(fault)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


async def leave(cluster: Cluster) -> Counter[int]:
    """SIGTERM for all workers in the end; their exit codes."""
    return Counter(await asyncio.gather(*(end(worker, signal.SIGTERM) for worker in cluster.workers)))
