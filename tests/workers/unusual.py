"""Definitions whose code is unusual, though nothing that a worker may stumble over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from tests.workers.definitions import Named, allowed, reached
from workers import Continue, Progress, Retry, RetryLater, Stop, TaskContext, task
from workers.held import StopReason


class Exits(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text")


@task(id="unusual-message")
async def message(ctx: TaskContext) -> None:
    """Raises an error whose message cannot be read, and would end the worker."""
    raise Exits


@task(id="unusual-group")
async def group(ctx: TaskContext, input: Named) -> None:
    """Reaches its checkpoints in the tasks of a group, which wraps what they raise."""

    async def step_by_step() -> None:
        while True:
            reached[input.name].set()
            await ctx.checkpoint()
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(step_by_step())
        tasks.create_task(step_by_step())


@task(id="unusual-stop")
async def stop(ctx: TaskContext, input: Named) -> None:
    """Raises the word to stop of some other run."""
    raise Stop(StopReason[input.name])


@task(id="unusual-number")
async def number(ctx: TaskContext) -> dict[str, int | str]:
    """Returns a number that no double can hold; as text the same digits are harmless."""
    return {"text": "1" * 400, "number": 10**400}


class Bare(RetryLater):
    def __init__(self) -> None:
        Exception.__init__(self, "without a delay")


@task(id="unusual-end", retry=Retry(max_attempts=2))
async def end(ctx: TaskContext, input: Named) -> Continue | None:
    """Ends in a way that nothing can be made of."""
    if input.name == "RetryLater":
        raise Bare
    return Continue(None, delay=timedelta(seconds=1))  # pyright: ignore[reportArgumentType]


async def save_in_hook(ctx: TaskContext, *_: object) -> None:
    await ctx.checkpoint(state={})


@task(id="unusual-hook", on_abort=save_in_hook)
async def hook(ctx: TaskContext, input: Named) -> None:
    """Logs more than it may by a library, which is not told; its hook reaches a checkpoint."""
    for number in range(20):
        logging.getLogger("chatty").info("line %s", number)
    reached[input.name].set()
    while True:
        await asyncio.sleep(0.01)
        ctx.raise_if_stopped()


async def wait_in_hook(ctx: TaskContext, *_: object) -> None:
    reached[ctx.name].set()
    await allowed[ctx.name].wait()


@task(id="unusual-slow-hook", timeout=0.5, on_done=wait_in_hook)
async def slow_hook(ctx: TaskContext) -> str:
    """Returns in time; its hook takes longer than the timeout."""
    return "in time"


async def log_later(ctx: TaskContext, output: object) -> None:
    ctx.log.info("the hook was awaited")


def hand_on(ctx: TaskContext, output: object) -> Coroutine[Any, Any, None]:
    return log_later(ctx, output)


class Called:
    """An object that is called like a coroutine function, though it is none."""

    async def __call__(self, ctx: TaskContext) -> str:
        await ctx.checkpoint(state={"saved": True})
        return "awaited"


task(id="unusual-object", on_done=hand_on)(Called())


@task(id="unusual-depth")
async def depth(ctx: TaskContext, input: Named) -> Any:
    """Writes what nests 201 levels as state, output or the data of a line."""
    value: Any = {"at": "the bottom"}
    for _ in range(200):
        value = [value]
    match input.name:
        case "state":
            await ctx.checkpoint(state=value)
        case "log":
            ctx.log.info("deep", data=value)
        case _:
            return value
    return None


@task(id="unusual-argument", max_iterations=2)
async def argument(ctx: TaskContext, input: Named) -> Continue | None:
    """Gives its context what that cannot take."""
    wrong: Any = {"progress": Progress, "run": await ctx.tasks.get(ctx.run_id), "text": [str(ctx.run_id)]}[input.name]
    if input.name == "progress":
        return await ctx.checkpoint(progress=wrong("half", 10))
    return ctx.wait_for(wrong)
