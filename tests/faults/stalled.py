"""Definitions that block their worker until a file is there, and note who executes what; loaded by TASKLOOM_TASKS."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from pydantic import BaseModel

from workers import TaskContext, task, watchdog

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
