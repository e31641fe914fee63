"""Definitions that block their worker until a file is there, and note who executes what; loaded by TASKLOOM_TASKS."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

from pydantic import BaseModel

from workers import TaskContext, task, watchdog
from workers.lease import LeaseKeeper

# Workers of these tests notice soon that their event loop is stuck.
watchdog.LOOK_SECONDS = float(os.environ.get("TASKLOOM_LOOK_SECONDS", watchdog.LOOK_SECONDS))


class Place(BaseModel):
    place: str

    def has(self, file: str) -> bool:
        return Path(self.place, file).exists()

    def note(self, what: str) -> None:
        with Path(self.place, "notes").open("a") as notes:
            notes.write(f"{os.getpid()} {what}\n")


@task(id="stalled-block")
async def block(ctx: TaskContext, input: Place) -> None:
    """Blocks its worker's event loop until it may go on."""
    input.note("blocks")
    while not input.has("go on"):
        time.sleep(0.01)  # noqa: ASYNC251 — blocking is what this task is for.


@task(id="stalled-wait")
async def wait(ctx: TaskContext, input: Place) -> None:
    """Waits until it may finish, without a checkpoint."""
    input.note("begins")
    try:
        while not input.has("finish"):  # noqa: ASYNC110 — there is nobody else in this process to set an event.
            await asyncio.sleep(0.01)
        input.note("ends")
    except asyncio.CancelledError:
        input.note("is stopped")
        raise


class End(BaseModel):
    by: str


@task(id="stalled-lease")
def end_the_thread_of_the_lease(ctx: TaskContext, input: End) -> None:
    """Does to the thread that renews the lease what nothing should."""
    keeper = next(thread._target.__self__ for thread in threading.enumerate() if thread.name == "taskloom-lease")
    assert isinstance(keeper, LeaseKeeper)
    assert keeper._loop
    keeper._loop.call_soon_threadsafe({"exit": sys.exit, "cancel": cancel_a_chore}[input.by])


def cancel_a_chore() -> None:
    next(task for task in asyncio.all_tasks() if task.get_coro().__name__ == "_repeat").cancel()
