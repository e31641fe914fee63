"""The recorder: group commit of everything a worker writes about the runs it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app import metrics
from app.batching import AGAIN, Again, Batcher
from app.leases import Write
from app.lifecycle import Lifecycle, Recorded
from workers.held import HeldRun

FLUSH_LIMIT = 500
"""Runs in one flush; with it a flush stays below some 20 ms, so that nobody waits long for the next one."""

FLUSH_CHARACTERS = 32 * 1024 * 1024
"""States and outputs in one flush: PostgreSQL closes a connection that sends it a statement of more than 1 GB."""


class Recorder:
    """Coalesces what concurrent runs write into single transactions.

    One flush follows the other, and takes what has come meanwhile. Only when that is more than one flush may have, a
    second lane takes what is too much: two smaller flushes side by side would be dearer than one.
    """

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._lane: Batcher[HeldRun, Recorded] = Batcher(self._flush, FLUSH_LIMIT)
        self._second_lane: Batcher[HeldRun, Recorded] = Batcher(self._flush, FLUSH_LIMIT)

    def submit(self, held: HeldRun) -> asyncio.Future[Recorded]:
        """Have what waits in a run written with the next flush; the future gives what became of it."""
        if held.flush is None or held.flush.done():
            # Each write names the number of those before it, so that those of one run stay behind one another.
            if held.lane is None:
                held.lane = self._lane if self._lane.waiting < FLUSH_LIMIT else self._second_lane
            held.flush = held.lane.submit(held)
        return held.flush

    async def _flush(self, batch: list[HeldRun]) -> Sequence[Recorded | Exception | Again]:
        fitting = _fitting(batch)
        return [*await self._write(batch[:fitting]), *[AGAIN] * (len(batch) - fitting)]

    async def _write(self, batch: list[HeldRun]) -> Sequence[Recorded | Exception | Again]:
        writes = [self._take(held) for held in batch]
        partly = [held.is_waiting for held in batch]
        metrics.FLUSH_WRITES.observe(len(writes))
        with metrics.FLUSH_SECONDS.time():
            answers = await self._lifecycle.record(writes)
        for held, write, answer in zip(batch, writes, answers, strict=True):
            held.written(write, answer)
            if held.flush is None:
                held.lane = None
        return [
            AGAIN if more and isinstance(answer, Recorded) and answer.accepted else answer
            for more, answer in zip(partly, answers, strict=True)
        ]

    @staticmethod
    def _take(held: HeldRun) -> Write:
        write = held.take()
        if not held.is_waiting:
            # What comes from now on goes out with another flush. What is left over goes on under this one.
            held.flush = None
        return write


def _fitting(batch: list[HeldRun]) -> int:
    """How many of the runs fit into one flush; the last one may be as large as a run may be."""
    characters = 0
    for number, held in enumerate(batch):
        if characters > FLUSH_CHARACTERS:
            return number
        characters += held.waiting_characters
    return len(batch)
