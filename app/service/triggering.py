"""Triggers: prepared one by one, stored together, rung and told after the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain

from app.auth import Principal
from app.batching import Batcher
from app.db import Database
from app.doorbell import Doorbell, Ring
from app.errors import InvalidArgument, ServiceUnavailable, TaskError
from app.events import Events
from app.models import TaskRun
from app.service.preparing import NewRun, Origin, Preparing
from app.service.requests import Triggered, TriggerRequest
from app.service.storing import Outcome, Stored, Storing
from app.settings import Settings
from app.states import TaskRunStatus

BATCH = 500
CHUNK = 2000
TOLD_AT_ONCE = 10


class Triggering:
    """Stores runs, rings for those that are due and tells who watches."""

    def __init__(
        self, db: Database, doorbell: Doorbell, events: Events, settings: Settings, preparing: Preparing
    ) -> None:
        self._storing = Storing(db)
        self._doorbell = doorbell
        self._events = events
        self._settings = settings
        self._preparing = preparing
        self._inserts: Batcher[NewRun, Triggered] = Batcher(self._store, BATCH)
        # Telling others is batched apart from the commits, so that a slow Redis never slows down a trigger.
        self._told: Batcher[list[TaskRun], None] = Batcher(self._tell, TOLD_AT_ONCE)
        self._last_told: asyncio.Future[None] | None = None

    async def submit(
        self, request: TriggerRequest, principal: Principal, *, allow_private: bool, origin: Origin | None = None
    ) -> Triggered:
        """Trigger one run, in one insert with all that arrive at the same time."""
        [run] = await self._preparing.prepare([request], principal, allow_private=allow_private, origin=origin)
        if isinstance(run, TaskError):
            raise run
        return await self._inserts.submit(run)

    async def submit_many(
        self, requests: Sequence[TriggerRequest], principal: Principal, *, allow_private: bool
    ) -> list[Triggered | TaskError]:
        """Trigger many runs in few inserts; the answer has a run or a refusal for each, in order."""
        self._check_number(len(requests))
        prepared = await self._preparing.prepare(requests, principal, allow_private=allow_private)
        good = [run for run in prepared if isinstance(run, NewRun)]
        answers: list[Triggered | Exception] = []
        for start in range(0, len(good), CHUNK):
            answers += await self._store_or_refuse(good[start : start + CHUNK])
        stored = iter(answers)
        return [run if isinstance(run, TaskError) else _expected(next(stored)) for run in prepared]

    async def finish_telling(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until everything stored so far has been rung and told."""
        if self._last_told is not None:
            await asyncio.wait({self._last_told}, timeout=timeout)

    def _check_number(self, number: int) -> None:
        limit = self._settings.max_bulk_items
        if number > limit:
            raise InvalidArgument(
                f"{number} tasks are too many for one request: at most {limit} are allowed (TASKLOOM_MAX_BULK_ITEMS).",
                path=("input", "tasks"),
            )

    async def _store_or_refuse(self, new: list[NewRun]) -> list[Triggered | Exception]:
        """A chunk's answers; when the database is away, that is the answer to each of its items."""
        try:
            return await self._store(new)
        except ServiceUnavailable as error:
            return [error] * len(new)

    async def _store(self, new: list[NewRun]) -> list[Triggered | Exception]:
        outcomes = await self._storing.store(new)
        created = [outcome.run for outcome in outcomes if isinstance(outcome, Stored) and outcome.created]
        if created:
            self._last_told = self._told.submit(created)
        return [_answer(outcome) for outcome in outcomes]

    async def _tell(self, batches: list[list[TaskRun]]) -> list[None]:
        rows = list(chain.from_iterable(batches))
        await self._doorbell.ring([_ring(row) for row in rows if row.status is TaskRunStatus.QUEUED])
        await self._events.publish([row.id for row in rows])
        return [None] * len(batches)


def _answer(outcome: Outcome) -> Triggered | Exception:
    return Triggered(outcome.run, deduplicated=not outcome.created) if isinstance(outcome, Stored) else outcome


def _expected(answer: Triggered | Exception) -> Triggered | TaskError:
    """An answer for a caller; anything but a refusal is a bug, and shown as one."""
    if isinstance(answer, (Triggered, TaskError)):
        return answer
    raise answer


def _ring(row: TaskRun) -> Ring:
    assert row.due_at is not None
    return Ring(row.id, row.claim_no, row.queue, row.priority, row.due_at)
