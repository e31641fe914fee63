"""What a worker may do and report: claim, record, dispatch, reap. Each method is one use case with its own transaction.

Whatever becomes due here is rung after the commit, and whatever changes is told to those who watch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from uuid import UUID

import asyncpg

from app import metrics, states
from app.batching import Batcher
from app.claiming import Claiming, Executed
from app.concern import attempt_of
from app.db import IN_TROUBLE, Database, Row, is_disconnect
from app.doorbell import AWAY, Doorbell, Ring, ring_of
from app.events import Events
from app.family import Family
from app.gate import Gate, Passed
from app.leases import REFUSED, Claim, Claimant, Leases, Recorded, Write, recorded
from app.outages import insist, pause, until_database_answers
from app.retry import Retry, decide_retry
from app.settings import Settings
from app.states import FINAL, Landing, Move, Reason, RunError, TaskRunStatus

logger = logging.getLogger("taskloom.lifecycle")

REPEATABLE = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
BATCH = 1000
TOLD_AT_ONCE = 10
LOST_RING_SECONDS = 2.0
OVERRUN_MARGIN_SECONDS = 5.0
DISOWNED_SECONDS = 60.0
FORGET_WORKERS_SECONDS = 24 * 3600.0
TELL_SECONDS = 1.0
"""How long an end waits for Redis to be told: other workers find by themselves what it was not."""

TIMED_OUT = RunError("Timeout", "The attempt ran longer than its timeout and its worker did not end it in time.")


class Lifecycle:
    """The worker's use cases. One per process; safe for concurrent use."""

    def __init__(
        self,
        db: Database,
        doorbell: Doorbell,
        events: Events,
        settings: Settings,
        claimant: Claimant,
        executed: Executed = dict[UUID, int],
    ) -> None:
        self._db = db
        self._doorbell = doorbell
        self._events = events
        self._settings = settings
        self._claimant = claimant
        self._gate = Gate(db, claimant, self._ring_and_tell)
        self._claiming = Claiming(db, claimant, self._gate, self._ring_and_tell, self._tell, executed)
        self._family = Family(db, events)
        # Telling others is batched apart from the commits, so that a slow Redis never slows down PostgreSQL.
        self._rings: Batcher[list[Ring], None] = Batcher(self._ring, TOLD_AT_ONCE)
        self._changes: Batcher[list[UUID], None] = Batcher(self._publish, TOLD_AT_ONCE)

    # Claiming.

    async def claim_rung(self, job_ids: Sequence[str]) -> list[Row]:
        """Claim the runs named by doorbell jobs (``run_id:claim_no``); those that are not due any more are left out."""
        return await self._claiming.claim_rung(job_ids)

    async def claim_next(self, limit: int) -> list[Row]:
        """Claim up to ``limit`` due runs of this worker's queues without having been rung for them."""
        return await self._claiming.claim_next(limit)

    # Recording.

    async def record(self, writes: list[Write]) -> list[Recorded | Exception]:
        """Apply a batch of fenced writes in one transaction; tries again until the database has answered.

        The answer of a write that PostgreSQL refuses for what is in it is that exception; the others are not hurt.
        """
        answers: dict[Claim, Recorded | Exception] = {}
        pending = writes
        attempt = 0
        while pending:
            try:
                answers |= await self._record_once(pending)
                break
            except Exception as error:
                if isinstance(error, IN_TROUBLE):
                    await pause(attempt, error)
                    attempt += 1
                elif is_disconnect(error):
                    pending = await insist(self._db, partial(self._recognise, pending, answers))
                elif isinstance(error, REPEATABLE):
                    await asyncio.sleep(0)
                elif len(pending) == 1:
                    answers[pending[0].claim] = error
                    break
                else:
                    for write in pending:
                        answers[write.claim] = (await self.record([write]))[0]
                    break
        return [answers[write.claim] for write in writes]

    async def _record_once(self, writes: list[Write]) -> dict[Claim, Recorded | Exception]:
        owner = self._claimant.owner
        async with self._db.pipe(by_keys=True) as pipe:
            leases = Leases(pipe)
            saved = await leases.save(owner, [write for write in writes if write.move is None])
            moves = [write for write in writes if write.move]
            settled = await leases.settle(owner, moves, self._settings.max_interruptions)
            await leases.append_logs([line for write in _accepted(writes, saved, settled) for line in write.logs])
        self._tell((*saved, *settled))
        await self._after_settling(settled)
        return self._answers(writes, (*saved, *settled))

    @staticmethod
    def _answers(writes: list[Write], rows: Sequence[Row]) -> dict[Claim, Recorded | Exception]:
        standing = {_claim_of(row): row for row in rows}
        answers: dict[Claim, Recorded | Exception] = {}
        for write in writes:
            row = standing.get(write.claim)
            answers[write.claim] = recorded(row["status"], forced=row["abort_forced"]) if row else REFUSED
        return answers

    async def _recognise(self, writes: list[Write], answers: dict[Claim, Recorded | Exception]) -> list[Write]:
        """After a lost connection: note the writes that were committed or overtaken, return those still to be made.

        ``write_no`` moves only with this worker's writes, so that one more than expected means "it was this one".
        """
        async with self._db.autocommit() as pipe:
            standing = {row["id"]: row for row in await Leases(pipe).standing([write.run_id for write in writes])}
        committed: list[Row] = []
        missing: list[Write] = []
        for write in writes:
            row = standing.get(write.run_id)
            if row is None or row["claim_no"] != write.claim_no:
                answers[write.claim] = REFUSED
            elif row["write_no"] == write.write_no + 1:
                committed.append(row)
                answers |= self._answers([write], [row])
            elif row["lease_owner"] == self._claimant.owner:
                missing.append(write)
            else:
                answers[write.claim] = REFUSED
        await self._after_settling([row for row in committed if row["lease_owner"] is None])
        return missing

    async def _after_settling(self, rows: Sequence[Row]) -> None:
        self._ring_queued(rows)
        self._gate.freed(rows)
        final = [row for row in rows if row["status"] in FINAL]
        metrics.count_finished(final)
        parents = await self._family.learn(final)
        self._ring_queued(parents)
        self._tell(parents)

    async def put_off(self, claims: Mapping[UUID, int], seconds: float) -> dict[UUID, int]:
        """Give claims of this worker (``run_id: claim_no``) more time until their deadlines.

        Returns those that were passed over, because their runs are being written at this moment.
        """
        async with self._db.autocommit() as pipe:
            rows = await Leases(pipe).put_off(self._claimant.owner, claims, seconds)
        return dict(map(_claim_of, rows))

    async def aborting(self) -> dict[UUID, bool]:
        """The runs held by this worker that were asked to abort, and whether by force."""
        async with self._db.autocommit() as pipe:
            rows = await Leases(pipe).aborting(self._claimant.owner)
        return {row["id"]: row["abort_forced"] for row in rows}

    # Dispatching and reaping: any worker may, at any time; rows are locked and re-checked by the statements.

    async def dispatch(self) -> int:
        """Queue and ring what has become due, end what outlived its time to live. Returns how many runs moved."""
        due = states.become_due()
        async with self._db.autocommit() as pipe:
            leases = Leases(pipe)
            expired = await leases.expire_unstarted(states.expire(), BATCH)
            slept = await leases.make_due(due, BATCH)
        parents = await self._family.look()
        metrics.count_each(metrics.DISPATCHED, _kinds(due=slept, children=parents, expired=expired))
        metrics.count_finished(expired)
        # Not waited for: what has become due next must not wait for a Redis that hangs.
        self._ring_queued((*slept, *parents))
        self._tell((*slept, *parents, *expired))
        return len(slept) + len(parents) + len(expired)

    async def ring_lost(self) -> list[Ring]:
        """Ring again for the heads of the queues where Redis has lost the ring. Returns these rings."""
        due: list[Row] = []
        async with self._db.autocommit() as pipe:
            for queue in self._claimant.queues:
                due += await Leases(pipe).longest_due(self._claimant, queue, LOST_RING_SECONDS, BATCH)
        try:
            missing = await self._doorbell.missing([ring_of(row) for row in due])
        except AWAY:
            return []
        await self._doorbell.ring(missing)
        metrics.DISPATCHED.labels("rung_again").inc(len(missing))
        return missing

    async def look_for_room(self) -> None:
        """Ring for runs that wait for a limit, wherever there is room for them now."""
        await self._gate.look()

    async def reap(self, now: datetime | None = None) -> int:
        """End or requeue what its worker can no longer settle. Returns how many runs moved.

        ``now`` is the time by the database's clock, by which it is too late; whoever does not know it has it asked.
        """
        now = now or await self.now()
        late = now - timedelta(seconds=OVERRUN_MARGIN_SECONDS)
        lost, overrun = await self._reap_leases(now), await self._reap_overruns(late)
        aborted = await self._reap_aborts(now)
        metrics.count_each(metrics.REAPED, _kinds(lease=lost, overrun=overrun, abort=aborted))
        rows = [*lost, *overrun, *aborted]
        for row in rows:
            about = attempt_of(row["id"], row["definition_id"], row["was_iteration"], row["was_attempt"])
            told = (row["id"], row["worker"], row["status"])
            logger.warning("Run %s was taken from worker %s and is %s now.", *told, extra=about)
        self._tell(rows)
        await self._after_settling(rows)
        return len(rows)

    async def disown(self, running: Sequence[UUID]) -> int:
        """Give back what this worker holds by its rows and does not execute: what a lost reply left behind.

        ``running`` are the runs it executes. Runs claimed within the last minute are left alone.
        """
        async with self._db.autocommit() as pipe:
            rows = await Leases(pipe).reap_disowned(
                self._claimant, states.expire_lease(), self._settings.max_interruptions, running, DISOWNED_SECONDS
            )
        metrics.REAPED.labels("disowned").inc(len(rows))
        self._tell(rows)
        await self._after_settling(rows)
        return len(rows)

    async def not_held(self, executed: Mapping[UUID, int]) -> list[Claim]:
        """Those of the claims (``run_id: claim_no``) that are over: somebody else has decided about their runs.

        A claim that is over never comes back, so that what is executed under it may be stopped at any time later.
        """
        if not executed:
            return []
        async with self._db.autocommit() as pipe:
            rows = await Leases(pipe).standing(list(executed))
        held = {_claim_of(row) for row in rows if row["lease_owner"] == self._claimant.owner}
        return [claim for claim in executed.items() if claim not in held]

    async def _reap_leases(self, now: datetime) -> list[Row]:
        async with self._db.autocommit() as pipe:
            leases = Leases(pipe)
            await leases.correct_leases()
            await leases.forget_workers(FORGET_WORKERS_SECONDS)
            return await leases.reap_expired_leases(
                self._claimant, states.expire_lease(), self._settings.max_interruptions, now
            )

    async def _reap_overruns(self, late: datetime) -> list[Row]:
        async with self._db.autocommit() as pipe:
            leases = Leases(pipe)
            alike: dict[tuple[Landing, float], tuple[Move, list[Claim]]] = {}
            for run in await leases.overruns(self._claimant, late):
                move = self._after_timeout(run)
                alike.setdefault((move.landing, move.delay), (move, []))[1].append(_claim_of(run))
            reaped: list[Row] = []
            for move, claims in alike.values():
                reaped += await leases.reap_overruns(self._claimant, claims, move, late)
            return reaped

    def _after_timeout(self, run: Row) -> Move:
        """What the run's own worker would have decided, by the retry policy of the definition."""
        policy = self._claimant.retries.get(run["definition_id"], Retry()).with_delays(run["retry"])
        return decide_retry(policy, run["attempt"], run["max_attempts"], TimeoutError(), TIMED_OUT, Reason.TIMEOUT)

    async def _reap_aborts(self, now: datetime) -> list[Row]:
        grace = self._settings.abort_grace_seconds + OVERRUN_MARGIN_SECONDS
        async with self._db.autocommit() as pipe:
            return await Leases(pipe).reap_aborts(
                self._claimant, states.force_abort(), now, grace=grace, forced_grace=OVERRUN_MARGIN_SECONDS
            )

    async def now(self) -> datetime:
        """The time by the database's clock."""
        async with self._db.autocommit() as pipe:
            return await Leases(pipe).now()

    # The worker's own row.

    async def beat(self, host: str, pid: int, capacity: int, running: int, *, draining: bool) -> datetime:
        """Register this worker, or renew its lease. Returns the database's time."""
        async with self._db.autocommit() as pipe:
            return await Leases(pipe).beat(
                self._claimant, host, pid, capacity, running, draining, self._settings.lease_seconds
            )

    async def leave(self) -> None:
        """Give up the lease at a clean shutdown."""
        async with self._db.autocommit() as pipe:
            await Leases(pipe).leave(self._claimant.owner)

    async def until_database_answers(self) -> None:
        """Return as soon as the database answers; says once that it is away."""
        await until_database_answers(self._db)

    # Telling others, after the commit.

    async def all_told(self) -> None:
        """Return when Redis has got all rings and changes so far; gives up after ``TELL_SECONDS``."""
        # Both go out in order, so that nothing is left before an answer to nothing.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TELL_SECONDS):
                await asyncio.gather(self._rings.submit([]), self._changes.submit([]))

    def _ring_queued(self, rows: Sequence[Row]) -> None:
        if queued := _rings_of(rows):
            self._rings.submit(queued)

    def _tell(self, rows: Sequence[Row]) -> None:
        if rows:
            self._changes.submit([row["id"] for row in rows])

    def _ring_and_tell(self, passed: Passed) -> None:
        if passed.rings:
            self._rings.submit(passed.rings)
        self._tell(passed.parked)

    async def _ring(self, batches: list[list[Ring]]) -> list[None]:
        await self._doorbell.ring(list(chain.from_iterable(batches)))
        return [None] * len(batches)

    async def _publish(self, batches: list[list[UUID]]) -> list[None]:
        await self._events.publish(dict.fromkeys(chain.from_iterable(batches)))
        return [None] * len(batches)


def _kinds(**moved: Sequence[Row]) -> list[tuple[str]]:
    return [(kind,) for kind, rows in moved.items() for _ in rows]


def _accepted(writes: list[Write], *answers: Sequence[Row]) -> list[Write]:
    if sum(map(len, answers)) == len(writes):
        return writes
    accepted = {_claim_of(row) for row in chain.from_iterable(answers)}
    return [write for write in writes if write.claim in accepted]


def _claim_of(row: Row) -> Claim:
    return row["id"], row["claim_no"]


def _rings_of(rows: Sequence[Row]) -> list[Ring]:
    """The rings for those of the rows that are queued."""
    return [ring_of(row) for row in rows if row["status"] == TaskRunStatus.QUEUED]
