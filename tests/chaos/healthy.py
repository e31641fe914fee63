"""Runs of every kind, made by the engine as they should be, for tests of the checker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from app import TaskService, TriggerRequest
from app.leases import Claimant
from app.lifecycle import Lifecycle
from app.models import TaskRun
from app.service import Triggered
from app.settings import Settings
from app.states import FINAL
from tests.chaos.checker import Told
from tests.chaos.definitions import RETRIES
from tests.workbench import until, until_status, working
from workers.connections import Connections

MAX_INTERRUPTIONS = 1
LONG = {"steps": 1_000_000, "pause": 0.01}
LATER = "interrupted"
"""The kind that is triggered when all others are final, because its worker is stopped."""
KINDS: dict[str, dict[str, Any]] = {
    "succeeded": {"definition_id": "chaos-steps", "input": {"steps": 3}},
    "chatty": {"definition_id": "chaos-chatter", "input": {"steps": 3}},
    "in a thread": {"definition_id": "chaos-plain", "input": {"steps": 2}},
    "continued": {"definition_id": "chaos-iterations", "input": {"steps": 4}},
    "retried": {"definition_id": "chaos-flaky", "input": {"fails": 2}},
    "failed": {"definition_id": "chaos-flaky", "input": {"fails": RETRIES}},
    "waiting parent": {"definition_id": "chaos-family", "input": {"steps": 2}},
    "aborted": {"definition_id": "chaos-steps", "input": LONG},
    "aborted before its start": {"definition_id": "chaos-steps", "input": LONG, "delay": 3600},
    "expired": {"definition_id": "chaos-steps", "input": LONG, "queue": "nobody", "ttl": 0.01},
    "taken over": {"definition_id": "chaos-chatter", "input": {"steps": 2}},
    "lost": {"definition_id": "chaos-steps", "input": LONG},
    LATER: {"definition_id": "chaos-chatter", "input": {"steps": 3, "pause": 0.25}},
}


class Making:
    """Makes one run of each kind; ``ids`` and ``told`` say which, and what its client was told."""

    def __init__(self, tasks: TaskService, settings: Settings) -> None:
        self.ids: dict[str, UUID] = {}
        self.told = Told()
        self._tasks = tasks
        self._settings = settings.model_copy(update={"max_interruptions": MAX_INTERRUPTIONS, "dispatch_seconds": 0.1})

    async def make(self) -> None:
        """All of them, one after the other and side by side."""
        for kind in KINDS.keys() - {LATER}:
            await self._trigger(kind)
        async with by_hand(self._settings) as nobody:
            await be_forgotten(nobody, self.ids["taken over"], claims=1)
            await be_forgotten(nobody, self.ids["lost"], claims=MAX_INTERRUPTIONS + 1)
        async with working(self._settings):
            await self._until_saved("aborted")
            for kind in ("aborted", "aborted before its start"):
                await self._tasks.abort(self.ids[kind])
                self.told.aborted.add(self.ids[kind])
            for run_id in self.ids.values():
                await until_status(self._tasks, run_id, *FINAL)
            await self._trigger(LATER)
            await self._until_saved(LATER)
        async with working(self._settings):
            await until_status(self._tasks, self.ids[LATER], *FINAL)

    async def _trigger(self, kind: str) -> None:
        """The kind is the key."""
        answer = await self._tasks.submit(TriggerRequest(**KINDS[kind], idempotency_key=kind))
        assert isinstance(answer, Triggered)
        self.ids[kind] = answer.run.id
        self.told.runs[kind] = [answer.run.id]
        self.told.inputs[kind] = KINDS[kind]["input"]

    async def _until_saved(self, kind: str) -> None:
        async def saved() -> TaskRun | None:
            run = await self._tasks.get(self.ids[kind])
            return run if run.state is not None else None

        await until(saved)


@asynccontextmanager
async def by_hand(settings: Settings) -> AsyncIterator[Lifecycle]:
    """A worker of the chaos tasks that does what it is told to."""
    connections = Connections.open(settings, pool_size=2)
    ids = tuple({request["definition_id"] for request in KINDS.values()})
    try:
        yield connections.lifecycle(settings, Claimant(uuid4(), "nowhere:1", ("default",), ids))
    finally:
        await connections.close()


async def be_forgotten(worker: Lifecycle, run_id: UUID, *, claims: int) -> None:
    """So many times, the run is claimed by a worker that is not heard of again, and then found."""
    for claim in range(claims):
        await worker.beat("nowhere", 1, 10, 0, draining=False)
        [row] = await worker.claim_rung([f"{run_id}:{claim}"])
        await worker.leave()
        assert row["id"] == run_id
        assert await worker.reap() == 1
