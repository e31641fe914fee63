"""Definitions that do a worker harm, or try to; loaded by TASKLOOM_TASKS."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any

from pydantic import BaseModel, field_serializer, field_validator

from workers import Retry, TaskContext, task

LINE = "x" * 1000
HUNDRED_MB = 100_000
ONCE = Retry(max_attempts=1)


class Named(BaseModel):
    name: str


class Ours(BaseException):
    """No ``Exception``, and nobody knows it."""


RAISED: dict[str, type[BaseException]] = {
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "Ours": Ours,
}


@task(id="poison-raise")
async def raises(ctx: TaskContext, input: Named) -> None:
    """Raises on the event loop."""
    raise RAISED[input.name](f"on purpose: {input.name}")


@task(id="poison-raise-plain")
def raises_plain(ctx: TaskContext, input: Named) -> None:
    """Raises in a thread."""
    raise RAISED[input.name](f"on purpose: {input.name}")


@task(id="poison-raise-inner")
async def raises_inner(ctx: TaskContext, input: Named) -> None:
    """Raises in a task of its own, which asyncio lets out of the loop."""
    await asyncio.create_task(raise_later(input.name))


async def raise_later(name: str) -> None:
    await asyncio.sleep(0)
    raise RAISED[name](f"on purpose: {name}")


def raise_in_hook(ctx: TaskContext, output: object) -> None:
    raise RAISED[str(output)](f"on purpose: {output}")


@task(id="poison-hook", on_done=raise_in_hook)
async def hook(ctx: TaskContext, input: Named) -> str:
    """Its hook raises."""
    return input.name


class Picky(BaseModel):
    value: int

    @field_validator("value")
    @classmethod
    def check(cls, value: int) -> int:
        # Only where it is executed: what is triggered is validated too.
        if os.environ.get("TASKLOOM_POISONED"):
            raise ZeroDivisionError("on purpose")
        return value


@task(id="poison-validator")
async def validator(ctx: TaskContext, input: Picky) -> None:
    """Its input's validator breaks in the worker."""


class Unwritable(BaseModel):
    value: int = 1

    @field_serializer("value")
    def write(self, value: int) -> int:
        raise RecursionError("on purpose")


@task(id="poison-output")
async def output(ctx: TaskContext, input: Named) -> Any:
    """Returns what cannot be stored, by name."""
    nested: list[Any] = []
    match input.name:
        case "50 MB":
            return "x" * 50_000_000
        case "deep":
            for _ in range(100_000):
                nested = [nested]
            return nested
        case "surrogate":
            return {"a": "\ud800"}
        case "NUL":
            return {"a\x00": 1}
        case "no JSON":
            return {"a": object()}
        case "broken serializer":
            return Unwritable()
    return None


@task(id="poison-save")
async def save(ctx: TaskContext, input: Named) -> None:
    """Saves what cannot be stored, by name."""
    match input.name:
        case "50 MB of state":
            await ctx.checkpoint(state="x" * 50_000_000)
        case "a message of 50 MB":
            await ctx.checkpoint(progress=(1, 2, "x" * 50_000_000))
        case "a number of 400 digits":
            await ctx.checkpoint(progress=(10**400, 1))


@task(id="poison-log")
async def log(ctx: TaskContext, input: Named) -> None:
    """Logs 100 MB without a moment for anybody else."""
    for _ in range(HUNDRED_MB):
        ctx.log.info(LINE)


@task(id="poison-log-plain")
def log_plain(ctx: TaskContext, input: Named) -> None:
    """Logs 100 MB in a thread."""
    for _ in range(HUNDRED_MB):
        ctx.log.info(LINE)


@task(id="poison-log-library")
async def log_library(ctx: TaskContext, input: Named) -> None:
    """A library of its own logs 100 MB; there is a checkpoint now and then."""
    for n in range(HUNDRED_MB):
        logging.getLogger("chatty").info(LINE)
        if n % 1000 == 0:
            await ctx.checkpoint()


@task(id="poison-block")
async def block(ctx: TaskContext, input: Named) -> str:
    """Blocks the event loop for so many seconds."""
    ctx.log.info("blocking")
    await ctx.checkpoint(state={})
    time.sleep(float(input.name))  # noqa: ASYNC251 — blocking is what this task is for.
    return "unblocked"


@task(id="poison-tick")
def tick(ctx: TaskContext, input: Named) -> int:
    """In a thread: does something every 10 ms for so many seconds, without asking the event loop."""
    until = time.monotonic() + float(input.name)
    ticks = 0
    while time.monotonic() < until:
        time.sleep(0.01)
        ticks += 1
    return ticks


@task(id="poison-sleep", retry=ONCE)
async def sleep(ctx: TaskContext, input: Named) -> str:
    """Sleeps on the event loop for so many seconds."""
    await ctx.checkpoint(state={})
    await asyncio.sleep(float(input.name))
    return "slept"
