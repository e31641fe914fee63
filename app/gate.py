"""The gate before runs of definitions with limits: who is let in, who waits, and whom to ring for when there is room.

A ring for such a run says "something of this definition may go". The gate counts what is taken, compares the run with
those that wait already, and hands out whoever is first; the others are parked: still QUEUED, out of the way of every
other claim, and taken up from there. A slot that ends is counted no more with the commit that ended it, so there is
nothing to give back, and nothing to leak.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.batching import Batcher
from app.db import Database, Pipe, Row
from app.doorbell import Ring, ring_of
from app.fitting import Candidate, Fitted, fit, taken_up
from app.leases import Claimant, Leases
from app.limited_runs import LimitedRuns, definitions_with_parked, unpark
from app.limits import NO_KEY, Scope

logger = logging.getLogger("taskloom.lifecycle")

BATCH = 1000
KEYS_AT_ONCE = 500


@dataclass(slots=True)
class Passed:
    """What came of passing the gate: the claimed rows, whom to ring for, and who was parked.

    ``chosen`` is filled before a claim is sent, so that what a lost reply would have brought can be asked for.
    """

    rows: list[Row] = field(default_factory=list[Row])
    rings: list[Ring] = field(default_factory=list[Ring])
    parked: list[Row] = field(default_factory=list[Row])
    chosen: list[Candidate] = field(default_factory=list[Candidate])


class Gate:
    """Lets runs of the definitions with limits that one worker serves pass."""

    def __init__(self, db: Database, claimant: Claimant, tell: Callable[[Passed], None]) -> None:
        self._db = db
        self._claimant = claimant
        self._tell = tell
        # In batches of their own, so that whoever waits for a lock here never slows down a settlement.
        self._freed: Batcher[Row, None] = Batcher(self._wake, BATCH)
        self._after_key: dict[str, str | None] = {}

    async def claim(self, rung: Mapping[UUID, int], passed: Passed) -> None:
        """Claim as many runs as were rung for (``id: claim_no``) and fit: these, or those that wait for longer."""
        async with self._db.autocommit() as pipe:
            rows = await Leases(pipe).of_definitions(list(rung), list(self._claimant.limits))
        for definition_id, run_ids in _grouped(rows).items():
            await self._claim(definition_id, {run_id: rung[run_id] for run_id in run_ids}, len(run_ids), [], passed)

    async def claim_waiting(self, limit: int, passed: Passed) -> None:
        """Claim up to ``limit`` parked runs that fit now, without having been rung for them."""
        for definition_id in await self._with_parked():
            if limit > len(passed.rows):
                keys = await self._next_keys(definition_id)
                await self._claim(definition_id, {}, limit - len(passed.rows), keys, passed)

    def freed(self, rows: Iterable[Row]) -> None:
        """Ring, a moment later, for those that waited for the slots that these runs held until just now."""
        for row in rows:
            if row["definition_id"] in self._claimant.limits:
                self._freed.submit(row)

    async def look(self) -> None:
        """Ring for those that fit, wherever there is room: whatever was missed, and what time has brought."""
        passed = Passed()
        for definition_id in await self._with_parked():
            keys = await self._next_keys(definition_id)
            async with self._db.pipe() as pipe:
                runs = self._runs(pipe, definition_id)
                # Whoever holds the lock is looking, and one is enough.
                if await runs.try_lock():
                    fitted = await self._fit(runs, definition_id, [], keys, passed)
                    passed.rings += map(_ring, fitted.fitting)
        async with self._db.autocommit() as pipe:
            free = await unpark(pipe, self._claimant.unlimited_ids, BATCH)
        passed.rings += map(ring_of, free)
        passed.parked += free
        self._tell(passed)

    async def _wake(self, rows: list[Row]) -> list[None]:
        passed = Passed()
        try:
            await self._find_next(_freed_slots(rows), passed)
        except Exception as error:
            # The dispatcher finds them.
            logger.info("Runs that wait for a limit could not be woken: %s", error)
        self._tell(passed)
        return [None] * len(rows)

    async def _find_next(self, freed: Mapping[str, Counter[str]], passed: Passed) -> None:
        for definition_id, keys in freed.items():
            async with self._db.pipe() as pipe:
                runs = self._runs(pipe, definition_id)
                # Waits for a claim under way, which may be parking a run for want of the very slot that is free now.
                await runs.lock()
                if not await definitions_with_parked(pipe, [definition_id]):
                    continue
                fitted = await self._fit(runs, definition_id, [], keys, passed)
            passed.rings += map(_ring, fitted.fitting[: keys.total()])

    async def _claim(
        self, definition_id: str, rung: Mapping[UUID, int], capacity: int, keys: Iterable[str], passed: Passed
    ) -> None:
        async with self._db.pipe() as pipe:
            runs = self._runs(pipe, definition_id)
            await runs.lock()
            candidates = await runs.rung(list(rung), list(rung.values())) if rung else []
            capacity = min(capacity, len(candidates)) if rung else capacity
            fitted = await self._fit(runs, definition_id, candidates, keys, passed)
            claimed, again = taken_up(fitted, {run.id for run in candidates}, capacity)
            passed.chosen += claimed
            rows = await runs.claim(self._claimant.owner, self._claimant.name, claimed)
        passed.rows += rows
        passed.rings += map(_ring, again)

    async def _fit(
        self, runs: LimitedRuns, definition_id: str, rung: Sequence[Candidate], keys: Iterable[str], passed: Passed
    ) -> Fitted:
        """Decide between the rung runs and the first of those that wait, and park whoever has to wait."""
        limits, queues = self._claimant.limits[definition_id], self._claimant.queues
        whole, each = limits.bounds(Scope.DEFINITION), limits.bounds(Scope.KEY)
        tally = await runs.tally_held()
        candidates = list(rung)
        room = tally.room(whole, None, BATCH)
        if not whole.is_none:
            candidates += await runs.next_of_definition(room, queues)
        concerned = {*keys, *(run.key for run in candidates)}
        await runs.count_starts_by_key(tally, concerned)
        most = max(1, BATCH // max(1, len(concerned)))
        rooms = {key: room if each.is_none else tally.room(each, key, most) for key in concerned}
        candidates += await runs.next_by_key({key: room for key, room in rooms.items() if any(room)}, queues)
        fitted = fit(limits, tally, candidates)
        passed.parked += await runs.park(fitted.to_park())
        return fitted

    def _runs(self, pipe: Pipe, definition_id: str) -> LimitedRuns:
        return LimitedRuns(pipe, definition_id, self._claimant.limits[definition_id])

    async def _with_parked(self) -> list[str]:
        async with self._db.autocommit() as pipe:
            return await definitions_with_parked(pipe, list(self._claimant.limits))

    async def _next_keys(self, definition_id: str) -> list[str]:
        """The keys to look at now: some at a time, going round, so that no number of keys makes a look long."""
        async with self._db.autocommit() as pipe:
            runs = self._runs(pipe, definition_id)
            keys = await runs.parked_keys(self._after_key.get(definition_id), KEYS_AT_ONCE)
        self._after_key[definition_id] = keys[-1] if len(keys) >= KEYS_AT_ONCE else None
        return keys


def _freed_slots(rows: Iterable[Row]) -> dict[str, Counter[str]]:
    """How many slots of which definition and key these runs held."""
    freed: dict[str, Counter[str]] = {}
    for row in rows:
        freed.setdefault(row["definition_id"], Counter())[row["limit_key"] or NO_KEY] += 1
    return freed


def _grouped(rows: Iterable[Row]) -> dict[str, list[UUID]]:
    grouped: dict[str, list[UUID]] = {}
    for row in rows:
        grouped.setdefault(row["definition_id"], []).append(row["id"])
    return grouped


def _ring(run: Candidate) -> Ring:
    return Ring(run.id, run.claim_no, run.queue, run.priority, run.due_at)
