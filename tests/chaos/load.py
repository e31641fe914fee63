"""The load: clients that trigger under keys, insist until they are told, trigger again, and abort."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from uuid import UUID

from app import TaskService
from app.errors import ServiceUnavailable, TaskRunNotAbortable
from app.run_filters import RunFilter
from app.service.requests import Triggered, TriggerRequest
from app.states import LIVE
from tests.chaos.checker import Told
from tests.chaos.definitions import RETRIES

CLIENTS = 6
BACKLOG = 250
"""So many runs may be under way before the clients hold back."""
FORGETFUL = 0.15
"""How often a client that was told triggers again with the same key."""
ABORTING = 0.12


class Load:
    """What clients do, and what they were told."""

    def __init__(self, tasks: TaskService, seed: int) -> None:
        self.told = Told()
        self.unknown_aborts = 0
        self._tasks = tasks
        self._seed = seed
        self._stopped = asyncio.Event()

    async def go_on(self) -> None:
        """All clients, until ``stop``; each then finishes the trigger it is about."""
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopped.set()

    async def _client(self, number: int) -> None:
        chance = random.Random(f"client {self._seed} {number}")
        count = 0
        while not self._stopped.is_set():
            size = chance.choice((1, 1, 1, 5, 20))
            requests = [self._request(chance, f"{number}:{count + n}") for n in range(size)]
            count += size
            ids = await self._insist(requests)
            if chance.random() < FORGETFUL:
                await self._insist(requests)
            if chance.random() < ABORTING:
                await asyncio.sleep(chance.uniform(0.0, 0.5))
                await self._abort(chance.choice(ids), force=chance.random() < 0.3)
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            await self._hold_back()

    def _request(self, chance: random.Random, key: str) -> TriggerRequest:
        kind = chance.choices(("steps", "chatter", "iterations", "flaky", "family", "plain"), (5, 5, 3, 2, 1, 1))[0]
        pause = chance.choice((0.0, 0.01, 0.05, 0.2))
        steps = chance.randint(1, 4) if kind == "family" else chance.randint(1, 25)
        input = {"steps": steps, "pause": pause, "fails": chance.randint(0, RETRIES + 1)}
        self.told.inputs[key] = input
        delay = chance.choice((None, None, None, 0.5))
        return TriggerRequest(
            definition_id=f"chaos-{kind}", input=input, idempotency_key=key, delay=delay,
            priority=chance.choice((0, 0, 5)), ttl=chance.choice((None,) * 19 + (3.0,)),
        )  # fmt: skip

    async def _insist(self, requests: list[TriggerRequest]) -> list[UUID]:
        """Trigger until each of the requests has been acknowledged, and note every acknowledgement."""
        ids: list[UUID] = []
        pending = requests
        while pending:
            answers = await self._trigger(pending)
            for request, answer in zip(pending, answers, strict=True):
                if isinstance(answer, Triggered):
                    assert request.idempotency_key is not None
                    self.told.runs.setdefault(request.idempotency_key, []).append(answer.run.id)
                    ids.append(answer.run.id)
                elif not isinstance(answer, ServiceUnavailable):
                    raise answer
            pending = [request for request, answer in zip(pending, answers, strict=True) if _unknown(answer)]
            if pending:
                await asyncio.sleep(0.1)
        return ids

    async def _trigger(self, requests: list[TriggerRequest]) -> list[Any]:
        try:
            if len(requests) == 1:
                return [await self._tasks.submit(requests[0])]
            return list(await self._tasks.submit_many(requests))
        except ServiceUnavailable as error:
            return [error] * len(requests)

    async def _abort(self, run_id: UUID, *, force: bool) -> None:
        try:
            await self._tasks.abort(run_id, force=force)
        except TaskRunNotAbortable:
            return
        except ServiceUnavailable:
            self.unknown_aborts += 1
            return
        self.told.aborted.add(run_id)

    async def _hold_back(self) -> None:
        while not self._stopped.is_set():
            try:
                if await live_runs(self._tasks) < BACKLOG:
                    return
            except ServiceUnavailable:
                pass
            await asyncio.sleep(0.2)


def _unknown(answer: object) -> bool:
    return isinstance(answer, ServiceUnavailable)


async def live_runs(tasks: TaskService) -> int:
    """How many runs are not final yet."""
    return await tasks.count(RunFilter(statuses=sorted(LIVE)))
