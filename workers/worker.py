"""The arq ``Worker`` of Taskloom: hears the doorbell without a poll delay and claims in batches.

The queue is arq's own, so that arq's stock worker may serve it beside this one (``workers.main.WorkerSettings``). What
differs is how jobs are taken: all that fit, at once, as soon as they are there; and what happens to them: they are
claimed in PostgreSQL by one statement.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from typing import Any

from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.worker import Worker, func
from redis.exceptions import ResponseError

from app import metrics
from app.counting import counted
from app.db import Row, is_disconnect
from app.doorbell import AT_ONCE, AWAY, JOB_FUNCTION, connect, deserialize, queue_key, serialize
from app.patience import PatientRedis
from workers.engine import Engine

logger = logging.getLogger("taskloom.worker")

# arq tells of its health at every beat; whoever wants to know asks `taskloom doctor`, or `arq --check`.
logging.getLogger("arq.worker").setLevel(logging.WARNING)

# One call that takes ids off the queues, and their jobs, which say nothing more than the ids, out of the way.
_TAKE = f"""
    local prefix, left, share, taken, over = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), {{}}, {{}}
    for _, queue in ipairs(KEYS) do
        local jobs = redis.call('ZPOPMIN', queue, math.min(share, left))
        for n = 1, #jobs, 2 do
            taken[#taken + 1] = jobs[n]
            over[#over + 1] = prefix .. jobs[n]
        end
        left = left - #jobs / 2
    end
    for n = 4, #ARGV do over[#over + 1] = prefix .. ARGV[n] end
    for n = 1, #over, {AT_ONCE} do redis.call('UNLINK', unpack(over, n, math.min(n + {AT_ONCE - 1}, #over))) end
    return taken"""
CLAIM_LIMIT = 500
CLAIMS_AT_ONCE = 2
"""Claims under way at once, as long as there are rings enough to fill each."""
CLAIM_SECONDS = 2.0
LISTEN_SECONDS = 1.0
# Holds no ring. Named as a job is, because a user of Redis whose keys are limited may use these.
_NO_QUEUE = f"{job_key_prefix}none"


class TaskloomWorker(Worker):
    """Takes rings from the queues of its settings and executes the runs behind them, until it is asked to drain."""

    def __init__(self, engine: Engine) -> None:
        settings = engine.settings
        super().__init__(
            functions=[func(engine_runs_them, name=JOB_FUNCTION)],
            queue_name=queue_key(settings.queues[0]),
            redis_pool=_arq_redis(settings.redis_url),
            handle_signals=False,
            max_jobs=settings.concurrency,
            keep_result=0,
            max_tries=1,
            health_check_interval=10,
            job_serializer=serialize,
            job_deserializer=deserialize,
        )
        self.engine = engine
        self._take: Any = self.pool.register_script(_TAKE)
        self._uncleared: list[bytes] = []
        self._queue_keys = [queue_key(queue) for queue in settings.queues]
        self._draining = asyncio.Event()
        self._redis_away = False
        self._claims: dict[asyncio.Task[int], int] = {}
        self._claims_at_once = 1
        metrics.SLOTS.set(settings.concurrency)
        metrics.SLOTS_IN_USE.set_function(lambda: engine.runner.executing)

    def drain(self) -> None:
        """Take no more runs; ``main`` returns once those under way have ended or been given back."""
        self._draining.set()
        self.engine.runner.room.set()

    async def main(self) -> None:
        """Start the engine, execute runs until asked to drain, then drain."""
        if not await self._before_draining(self.engine.start()):
            return
        logger.info(
            "Worker %s is ready: %s, queues %s, %s at once.", self.engine.claimant.name,
            counted(len(self.engine.claimant.definition_ids), "definition"),
            ", ".join(self.engine.claimant.queues), counted(self.max_jobs, "run"),
        )  # fmt: skip
        await self._before_draining(self._take_runs())
        await self._end_claims()
        logger.info(
            "Worker %s drains, with %s under way.",
            self.engine.claimant.name,
            counted(len(self.engine.runner.running), "run"),
        )
        await self.engine.drain()

    async def _before_draining(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do something until it is done or the worker is asked to drain; returns whether it was done."""
        working, draining = asyncio.create_task(work), asyncio.create_task(self._draining.wait())
        await asyncio.wait([working, draining], return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        if working.done():
            await working
            return True
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        return False

    async def _end_claims(self) -> None:
        """Wait for the claims under way. One that is cut off may leave runs claimed that nobody executes: they are
        given back with the lease.
        """
        claims = tuple(self._claims)
        if claims:
            await asyncio.wait(claims, timeout=CLAIM_SECONDS)
        for claim in claims:
            claim.cancel()
        await asyncio.gather(*claims, return_exceptions=True)

    async def close(self) -> None:
        """Give up the lease and close all connections."""
        with contextlib.suppress(*AWAY):
            uncleared = (job_key_prefix + job_id.decode() for job_id in self._uncleared)
            await self.pool.delete(self.health_check_key, *uncleared)
        await self.engine.stop()
        await self.pool.aclose()

    # Taking runs.

    async def _take_runs(self) -> None:
        while True:
            try:
                await self._take_some(min(await self._until_room(), CLAIM_LIMIT))
            except Exception as error:
                await self._recover(error)

    async def _until_room(self) -> int:
        """The number of slots that are free and not expected by a claim under way, as soon as one more may begin."""
        runner = self.engine.runner
        while (free := runner.free - sum(self._claims.values())) <= 0 or len(self._claims) >= self._claims_at_once:
            runner.room.clear()
            await runner.room.wait()
        return free

    async def _take_some(self, limit: int) -> None:
        """Begin to claim runs that are due: rung ones, or while Redis is away those found in PostgreSQL."""
        if self.engine.runner.has_overlooked:
            await self._take_overlooked()
            return
        try:
            job_ids = await self._rung(limit)
        except AWAY as error:
            await self._take_until_redis_answers(error)
            return
        if self._redis_away:
            logger.info("Redis is back.")
            self._redis_away = False
        metrics.doorbell(answered=True)
        # Two smaller claims would be dearer than one.
        self._claims_at_once = CLAIMS_AT_ONCE if len(job_ids) == CLAIM_LIMIT else 1
        if job_ids:
            # The lease may have ended while it listened. Until it is back, a claim is in vain, and its rings are lost.
            while self.engine.runner.term.is_over:
                await self._until_room()
            self._claim(self.engine.lifecycle.claim_rung(job_ids), len(job_ids))

    async def _take_overlooked(self) -> None:
        """Take runs whose rings never come, found in PostgreSQL."""
        self.engine.runner.has_overlooked = False
        while await self._take_found() == CLAIM_LIMIT:
            pass

    async def _take_found(self) -> int:
        """Claim runs that are found in PostgreSQL; returns how many."""
        # Alone: its reply lost, it takes for its own whatever came to be held meanwhile.
        self._claims_at_once = 1
        limit = min(await self._until_room(), CLAIM_LIMIT)
        return await asyncio.shield(self._claim(self.engine.lifecycle.claim_next(limit), limit))

    async def _take_until_redis_answers(self, error: Exception) -> None:
        """Take runs that are found in PostgreSQL. Redis is asked beside that: one that hangs takes its time."""
        if not self._redis_away:
            logger.warning("Redis is away (%s); due runs are looked up in PostgreSQL.", error)
            self._redis_away = True
        metrics.doorbell(answered=False)
        answer = asyncio.create_task(self._until_redis_answers())
        try:
            while not answer.done():
                if not await self._take_found():
                    await asyncio.wait([answer], timeout=self.engine.settings.poll_seconds)
            await answer
        finally:
            answer.cancel()

    async def _until_redis_answers(self) -> None:
        while True:
            await asyncio.sleep(self.engine.settings.poll_seconds)
            try:
                # Asked for what is wanted of it, and for none of that: to a ping it may answer though it refuses this.
                await self._pop(0)
                await self.pool.bzpopmin([_NO_QUEUE], timeout=0.001)  # 0 would be for ever.
                return
            except AWAY:
                metrics.doorbell(answered=False)

    def _claim(self, claim: Coroutine[Any, Any, list[Row]], most: int) -> asyncio.Task[int]:
        """Claim, and execute what it brings, which is ``most`` runs at the most, in a task that gives their number."""
        task = asyncio.create_task(self._execute(claim))
        self._claims[task] = most
        task.add_done_callback(self._claim_ended)
        return task

    def _claim_ended(self, task: asyncio.Task[int]) -> None:
        del self._claims[task]
        self.engine.runner.room.set()

    async def _execute(self, claim: Coroutine[Any, Any, list[Row]]) -> int:
        asked = time.monotonic()
        try:
            rows = await claim
            for task in self.engine.runner.start_claimed(rows, asked):
                task.add_done_callback(self._ended)
            return len(rows)
        except Exception as error:
            await self._before_draining(self._recover(error))
            return 0

    async def _recover(self, error: Exception) -> None:
        if not is_disconnect(error):
            logger.error("Runs could not be claimed.", exc_info=error)
        await asyncio.sleep(0.2)
        await self.engine.lifecycle.until_database_answers()

    def _ended(self, _task: asyncio.Task[None]) -> None:
        self.jobs_complete += 1

    async def _rung(self, limit: int) -> list[str]:
        """Up to ``limit`` job ids, taken off the queues; waits for the first one up to ``LISTEN_SECONDS``."""
        # What a Redis that is full refuses here, it may give there.
        with contextlib.suppress(ResponseError):
            await self.record_health()
        taken = await self._pop(limit)
        if not taken and (first := await self.pool.bzpopmin(self._queue_keys, timeout=LISTEN_SECONDS)):
            # Claimed at once, because somebody may wait for it; its job is cleared away with the next call.
            taken = self._uncleared = [first[1]]
        # The queue that was first is last next time, so that a full one does not starve the others.
        self._queue_keys.append(self._queue_keys.pop(0))
        return [job_id.decode() for job_id in taken]

    async def _pop(self, limit: int) -> list[bytes]:
        """Take up to ``limit`` jobs off the queues, fairly."""
        share = -(-limit // len(self._queue_keys))
        taken = await self._take(keys=self._queue_keys, args=[job_key_prefix, limit, share, *self._uncleared])
        self._uncleared = []
        return taken


class _PatientArqRedis(PatientRedis, ArqRedis):
    """arq's client, which waits for no answer for long."""


def _arq_redis(url: str) -> ArqRedis:
    pool: Any = connect(url).connection_pool
    return _PatientArqRedis(pool, job_serializer=serialize, job_deserializer=deserialize)


async def engine_runs_them(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> None:
    """Stands for the function in arq's registry; this worker never calls it, because the engine executes runs."""
    raise NotImplementedError
