"""Claims: of runs that were rung for, and of those found in PostgreSQL. A claimed run is never forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from app import metrics
from app.db import IN_TROUBLE, Database, Row, is_disconnect
from app.doorbell import parse_job_id
from app.gate import Gate, Passed
from app.leases import Claimant, Leases
from app.outages import insist

logger = logging.getLogger("taskloom.lifecycle")

Executed = Callable[[], Mapping[UUID, int]]
"""Tells the claims under which runs are executed at this moment (``run_id: claim_no``)."""


class Claiming:
    """One worker's claims. Those of rung runs may be under way side by side; ``claim_next`` has to be alone.

    Who claims without knowing beforehand what, and loses the reply, takes for its own whatever came to be held since.
    """

    def __init__(
        self,
        db: Database,
        claimant: Claimant,
        gate: Gate,
        ring_and_tell: Callable[[Passed], None],
        tell: Callable[[Sequence[Row]], None],
        executed: Executed,
    ) -> None:
        self._db = db
        self._claimant = claimant
        self._gate = gate
        self._ring_and_tell = ring_and_tell
        self._tell = tell
        self._executed = executed
        self._queues = deque(claimant.queues)
        self._one_by_one = asyncio.Lock()

    async def claim_rung(self, job_ids: Sequence[str]) -> list[Row]:
        """Claim the runs named by doorbell jobs (``run_id:claim_no``); those that are not due any more are left out."""
        rows = await self._claim([pair for pair in map(parse_job_id, job_ids) if pair])
        metrics.VAIN_RINGS.inc(len(job_ids) - len(rows))
        self._note_claims(rows, "rung")
        return rows

    async def claim_next(self, limit: int) -> list[Row]:
        """Claim up to ``limit`` due runs of this worker's queues without having been rung for them.

        Each queue gets an equal share, and another one is first each time, so that a full one starves no other. What
        is left of the shares goes to the queues that have more. Those that wait for a limit of theirs come before.
        """
        waiting = bool(self._claimant.limits)
        rows = await self._pass_gate(partial(self._gate.claim_waiting, limit)) if waiting else []
        try:
            await self._claim_in_turn(limit, rows)
        except Exception:
            # What one queue gave must not be forgotten for another's trouble; who polls again meets that again.
            if not rows:
                raise
        self._note_claims(rows, "polled")
        return rows

    async def _claim_in_turn(self, limit: int, rows: list[Row]) -> None:
        self._queues.rotate(-1)
        queues = list(self._queues)
        while queues and len(rows) < limit:
            share = -(-(limit - len(rows)) // len(queues))
            for queue in tuple(queues):
                wanted = min(share, limit - len(rows))
                found = await self._claim_from(queue, wanted) if wanted else []
                rows += found
                if len(found) < share:
                    queues.remove(queue)

    async def _claim(self, pairs: Sequence[tuple[UUID, int]]) -> list[Row]:
        run_ids, claim_nos = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        try:
            async with self._db.autocommit(by_keys=True) as pipe:
                rows = await Leases(pipe).claim_rung(self._claimant, run_ids, claim_nos)
        except Exception as error:
            # In trouble it has claimed nothing, and whoever goes on claiming at once only wears out the rings.
            if isinstance(error, IN_TROUBLE) or not is_disconnect(error):
                raise
            rows = await insist(self._db, partial(self._claimed_all_the_same, run_ids, claim_nos))
        if self._claimant.limits and len(rows) < len(pairs):
            claimed = {row["id"] for row in rows}
            rest = {run_id: claim_no for run_id, claim_no in pairs if run_id not in claimed}
            rows = [*rows, *await self._pass_gate(partial(self._gate.claim, rest))]
        return rows

    async def _claim_from(self, queue: str, limit: int) -> list[Row]:
        if not self._claimant.limits:
            async with self._one_by_one:
                return await self._claim_unlimited(queue, limit)
        async with self._db.autocommit() as pipe:
            due = await Leases(pipe).due_next(self._claimant, queue, limit)
        return await self._claim([(row["id"], row["claim_no"]) for row in due])

    async def _claim_unlimited(self, queue: str, limit: int) -> list[Row]:
        """Claim without knowing beforehand what: where the reply is lost, it is all that came to be held since."""
        began: datetime | None = None
        try:
            async with self._db.autocommit() as pipe:
                began = await Leases(pipe).now()
                return await Leases(pipe).claim_next(self._claimant, queue, limit)
        except Exception as error:
            if began is None or isinstance(error, IN_TROUBLE) or not is_disconnect(error):
                raise
            return await insist(self._db, partial(self._claimed_since, began))

    async def _claimed_since(self, moment: datetime) -> list[Row]:
        """What a claim brought that did not know beforehand what, and whose reply was lost."""
        return await self._held(lambda leases: leases.claimed_since(self._claimant.owner, moment))

    async def _pass_gate(self, go: Callable[[Passed], Awaitable[None]]) -> list[Row]:
        """What passing the gate brings, whatever happens on the way: a claimed run must not be forgotten."""
        passed = Passed()
        try:
            await go(passed)
            rows = passed.rows
        except Exception as error:
            if not is_disconnect(error):
                logger.exception("Runs with limits could not be claimed.")
            ids, claim_nos = [run.id for run in passed.chosen], [run.claim_no for run in passed.chosen]
            rows = await insist(self._db, partial(self._claimed_all_the_same, ids, claim_nos)) if ids else []
        self._ring_and_tell(passed)
        return rows

    def _note_claims(self, rows: Sequence[Row], source: str) -> None:
        metrics.CLAIMED.labels(source).inc(len(rows))
        for row in rows:
            # A claim whose reply was lost does not tell how long its runs had waited.
            if (waited := row.get("waited")) is not None:
                metrics.RUN_WAIT.observe(row["queue"], waited)
        self._tell(rows)

    async def _claimed_all_the_same(self, run_ids: Sequence[UUID], claim_nos: Sequence[int]) -> list[Row]:
        """What a claim brought whose reply was lost with the connection."""
        rows = await self._held(lambda leases: leases.claimed_under(self._claimant.owner, run_ids))
        expected = {run_id: claim_no + 1 for run_id, claim_no in zip(run_ids, claim_nos, strict=True)}
        return [row for row in rows if row["claim_no"] == expected[row["id"]]]

    async def _held(self, ask: Callable[[Leases], Awaitable[list[Row]]]) -> list[Row]:
        """What this worker holds by the answer, but for what it executed when it asked: that goes on as it is, and may
        have settled by the time the answer is read.
        """
        async with self._db.autocommit() as pipe:
            executed = self._executed()
            rows = await ask(Leases(pipe))
        return [row for row in rows if executed.get(row["id"]) != row["claim_no"]]
