"""Clients that follow runs live, over WebSocket or server-sent events, and come back as the README says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from websockets.exceptions import WebSocketException

from app import TaskService
from tests.faults.test_workers_that_die import until_step
from tests.schema.live import PATIENCE_SECONDS, subscribed
from tests.workbench import until

LOG = """subscription ($id: ID!, $after: String) {
    taskLogAdded(runId: $id, after: $after) { sequence message cursor } }"""
RUN = "subscription ($id: ID!) { taskRunUpdated(id: $id) { id status progress { current } } }"
CHANGES = "subscription { taskRunsChanged { id status progress { current } } }"
BROKEN = (ConnectionError, WebSocketException, httpx2.NetworkError, httpx2.RemoteProtocolError)
"""How a connection breaks. A silence is none of these: it ends the test."""

ALL_SECONDS = 60
"""How long subscribers may follow a run: one whose run never ends for it ends the test."""

Data = dict[str, Any]
Way = Callable[..., AsyncGenerator[Data, None]]


class Cut(Exception):
    """A subscription ended otherwise than by completing, or did not begin."""


async def over_websocket(address: str, query: str, **variables: Any) -> AsyncGenerator[Data, None]:
    """The events of a subscription over graphql-transport-ws, until it completes. Raises ``Cut``."""
    try:
        async with subscribed(address, query, **variables) as subscription:
            while (message := await subscription.message())["type"] == "next":
                yield _data(message["payload"])
            if message["type"] != "complete":
                raise Cut(message)
    except BROKEN as error:
        raise Cut(repr(error)) from error


async def over_sse(address: str, query: str, **variables: Any) -> AsyncGenerator[Data, None]:
    """The events of a subscription as server-sent events, until it completes. Raises ``Cut``."""
    asked = {"json": {"query": query, "variables": variables}, "headers": {"accept": "text/event-stream"}}
    try:
        async with (
            httpx2.AsyncClient(timeout=PATIENCE_SECONDS) as http,
            http.stream("POST", f"http://{address}/graphql", **asked) as response,
        ):
            async for line in response.aiter_lines():
                if line == "event: complete":
                    return
                if line.startswith("data: {"):
                    yield _data(json.loads(line.removeprefix("data: ")))
    except BROKEN as error:
        raise Cut(repr(error)) from error
    raise Cut("the answer ended, and nothing said that it was complete")


def _data(answer: Data) -> Data:
    if "errors" in answer:
        raise Cut(answer["errors"])
    return answer["data"]


WAYS: tuple[Way, ...] = (over_websocket, over_sse)


class LogFollower:
    """Follows the log of a run, and comes back after the last line it saw as often as it is cut off."""

    def __init__(self, way: Way, address: str, run_id: str) -> None:
        self._way, self._address, self._run_id = way, address, run_id
        self._cursor: str | None = None
        self.lines: list[tuple[int, str]] = []
        self.cuts: list[Cut] = []

    async def follow(self) -> None:
        """Follow the log until it is complete."""
        while True:
            try:
                async for data in self._way(self._address, LOG, id=self._run_id, after=self._cursor):
                    self._note(data["taskLogAdded"])
                return
            except Cut as cut:
                self.cuts.append(cut)
                # The pause of a client before it tries again.
                await asyncio.sleep(0.05)

    def _note(self, line: Data) -> None:
        self.lines.append((line["sequence"], line["message"]))
        self._cursor = line["cursor"]


class Audience:
    """Everybody who watches a run of ``fault-steps``: its log in each way, the run itself, and all runs."""

    def __init__(self, address: str, run_id: str) -> None:
        self.run_id = run_id
        self._address = address
        self.logs = [LogFollower(way, address, run_id) for way in WAYS]
        self.of_run: list[Data] = []
        self.of_all: list[Data] = []

    async def watch_run(self) -> None:
        """Watch the run until it is final."""
        async for data in over_sse(self._address, RUN, id=self.run_id):
            self.of_run.append(data["taskRunUpdated"])

    async def watch_all(self) -> None:
        """Watch all runs, without an end."""
        async for data in over_websocket(self._address, CHANGES):
            self.of_all.append(data["taskRunsChanged"])

    def times_told(self, run_id: str, status: str) -> int:
        """How often who watches all runs was told that a run has a status."""
        return [(run["id"], run["status"]) for run in self.of_all].count((run_id, status))

    async def hears_more(self, tasks: TaskService) -> None:
        """Return once each of them knows of a step that the run makes from now on."""
        done = (await until_step(tasks, self.run_id, 1)).state["at"]
        await until(lambda: min(self._steps()) > done, 20)

    def _steps(self) -> list[float]:
        watched = (self.of_run, [run for run in self.of_all if run["id"] == self.run_id])
        told = [(runs[-1]["progress"] or {"current": 0})["current"] if runs else 0 for runs in watched]
        return [*told, *(len(log.lines) for log in self.logs)]


@asynccontextmanager
async def watched(address: str, run_id: str) -> AsyncIterator[Audience]:
    """Subscribers of a run, each on a connection of its own; the block ends when the run has ended for all of them."""
    audience = Audience(address, run_id)
    async with asyncio.timeout(ALL_SECONDS), asyncio.TaskGroup() as group:
        endless = group.create_task(audience.watch_all())
        for watching in (audience.watch_run(), *(log.follow() for log in audience.logs)):
            group.create_task(watching)
        yield audience
        endless.cancel()
