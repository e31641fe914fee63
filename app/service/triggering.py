"""Triggers: prepared one by one, stored together, rung and told after the commit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import chain

from app import metrics
from app.auth import Principal
from app.batching import Batcher
from app.db import Database
from app.doorbell import Doorbell
from app.errors import InvalidArgument, ServiceUnavailable, TaskError
from app.events import Events
from app.kinds import listed, of_kind
from app.service.admitting import is_admitted
from app.service.backpressure import Backpressure, LetIn
from app.service.preparing import NewRun, Origin, Preparing
from app.service.repeating import Pause, outlast
from app.service.requests import Triggered, TriggerRequest
from app.service.storing import Found, Outcome, Storing
from app.settings import Settings

BATCH = 500
CHUNK = 250
STORED_AT_ONCE = 2
TOLD_AT_ONCE = 10


class Triggering:
    """Stores runs, rings for those that are due and tells who watches."""

    def __init__(
        self, db: Database, doorbell: Doorbell, events: Events, settings: Settings, preparing: Preparing
    ) -> None:
        self._storing = Storing(db, events)
        self._backpressure = Backpressure(db, settings)
        self._doorbell = doorbell
        self._events = events
        self._settings = settings
        self._preparing = preparing
        self._inserts: Batcher[NewRun, Triggered] = Batcher(self._store, BATCH)
        # Telling others is batched apart from the commits, so that a slow Redis never slows down a trigger.
        self._told: Batcher[list[NewRun], None] = Batcher(self._tell, TOLD_AT_ONCE)
        self._last_told: asyncio.Future[None] | None = None

    async def submit(
        self,
        request: TriggerRequest,
        principal: Principal,
        *,
        allow_private: bool,
        origin: Origin | None = None,
        pause: Pause | None = None,
    ) -> Triggered:
        """Trigger one run, in one insert with all that arrive at the same time.

        With a ``pause`` it outlasts an outage: what was prepared has its id, and is stored once however often that is
        asked for.
        """
        of_kind(request, TriggerRequest, "request")
        ask = partial(self._preparing.prepare, [request], principal, allow_private=allow_private, origins=[origin])
        [run] = await outlast(ask, pause)
        if isinstance(run, TaskError):
            raise run
        return await outlast(partial(self.store, run), pause)

    async def store(self, run: NewRun) -> Triggered:
        """Trigger a run that was prepared elsewhere, in one insert with all that arrive at the same time."""
        return await self._inserts.submit(run)

    async def submit_many(
        self,
        requests: Sequence[TriggerRequest],
        principal: Principal,
        *,
        allow_private: bool,
        origins: Sequence[Origin | None] | None = None,
    ) -> list[Triggered | TaskError]:
        """Trigger many runs in few inserts; the answer has a run or a refusal for each, in order.

        ``origins`` says, for each request, what it takes over from an earlier run.
        """
        self.check(requests)
        answers: list[Triggered | TaskError] = []
        storing: deque[asyncio.Task[list[Triggered | TaskError]]] = deque()
        try:
            for start in range(0, len(requests), CHUNK):
                prepared = await self._prepare_chunk(start, requests, principal, allow_private, origins)
                # PostgreSQL stores two chunks while the next is prepared.
                while len(storing) >= (1 if _takes_turns(prepared) else STORED_AT_ONCE):
                    answers += await storing.popleft()
                storing.append(asyncio.create_task(self._store_prepared(prepared)))
                await asyncio.sleep(0)
            while storing:
                answers += await storing.popleft()
        finally:
            for given_up in storing:
                given_up.cancel()
        return answers

    async def _prepare_chunk(
        self,
        start: int,
        requests: Sequence[TriggerRequest],
        principal: Principal,
        allow_private: bool,
        origins: Sequence[Origin | None] | None,
    ) -> list[NewRun | TaskError]:
        chunk = requests[start : start + CHUNK]
        froms = origins[start : start + CHUNK] if origins else None
        try:
            return await self._preparing.prepare(chunk, principal, allow_private=allow_private, origins=froms)
        except ServiceUnavailable as error:
            if not start:
                raise
            # Others are stored by now, and their callers have to hear of them.
            return [error] * len(chunk)

    async def finish_telling(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until everything stored so far has been rung and told."""
        if self._last_told is not None:
            await asyncio.wait({self._last_told}, timeout=timeout)

    def check(self, requests: Sequence[TriggerRequest]) -> None:
        """Raise ``InvalidArgument`` for what are no requests, or more at once than are allowed."""
        listed(requests, TriggerRequest, "requests")
        number, limit = len(requests), self._settings.max_bulk_items
        if number > limit:
            raise InvalidArgument(
                f"{number} tasks are too many for one request: at most {limit} are allowed (TASKLOOM_MAX_BULK_ITEMS).",
                path=("input", "tasks"),
            )

    async def _store_prepared(self, prepared: Sequence[NewRun | TaskError]) -> list[Triggered | TaskError]:
        good = [run for run in prepared if isinstance(run, NewRun)]
        stored = iter(await self._store_or_refuse(good) if good else [])
        return [run if isinstance(run, TaskError) else _expected(next(stored)) for run in prepared]

    async def _store_or_refuse(self, new: list[NewRun]) -> list[Triggered | Exception]:
        """A chunk's answers; when the database is away, that is the answer to each of its items."""
        try:
            return await self._store(new)
        except ServiceUnavailable as error:
            return [error] * len(new)

    async def _store(self, new: list[NewRun]) -> list[Triggered | Exception]:
        let_in = await self._backpressure.let_in(new)
        refused = let_in.refused
        wanted = [run for run in new if run.id not in refused] if refused else new
        outcomes = iter(await self._store_those(wanted, let_in))
        return [refused.get(run.id) or _answer(next(outcomes)) for run in new]

    async def _store_those(self, new: list[NewRun], let_in: LetIn) -> list[Outcome]:
        created: list[NewRun] = []
        try:
            outcomes = await self._storing.store(new) if new else []
            created = [outcome for outcome in outcomes if isinstance(outcome, NewRun)]
        finally:
            self._backpressure.settle(let_in, created)
        if created:
            metrics.count_each(metrics.TRIGGERED, [(run.known.id,) for run in created])
            self._last_told = self._told.submit(created)
        return outcomes

    async def _tell(self, batches: list[list[NewRun]]) -> list[None]:
        created = list(chain.from_iterable(batches))
        await self._doorbell.ring([run.ring for run in created if run.is_due])
        await self._events.publish([run.id for run in created])
        return [None] * len(batches)


def _takes_turns(prepared: Sequence[NewRun | TaskError]) -> bool:
    """Whether one of the runs may be in the way of another: then those that were asked for first come first."""
    return any(isinstance(run, NewRun) and (run.has_key or is_admitted(run)) for run in prepared)


def _answer(outcome: Outcome) -> Triggered | Exception:
    if isinstance(outcome, NewRun):
        return Triggered(outcome, deduplicated=False)
    if isinstance(outcome, Found):
        return Triggered(outcome, deduplicated=True)
    return outcome


def _expected(answer: Triggered | Exception) -> Triggered | TaskError:
    """An answer for a caller; anything but a refusal is a bug, and shown as one."""
    if isinstance(answer, (Triggered, TaskError)):
        return answer
    raise answer
