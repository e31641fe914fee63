"""Definitions for worker processes of their own; loaded by TASKLOOM_TASKS."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from uuid import UUID

from pydantic import BaseModel

from workers import Continue, Limits, Retry, TaskContext, task


class Steps(BaseModel):
    steps: int
    pause: float = 0.01


@task(id="fault-steps")
async def steps(ctx: TaskContext, input: Steps) -> int:
    """Goes step by step; a step's log line and its state are saved together."""
    at = (ctx.state or {"at": 0})["at"]
    while at < input.steps:
        await asyncio.sleep(input.pause)
        at += 1
        ctx.log.info(f"step {at}")
        await ctx.checkpoint(state={"at": at}, progress=(at, input.steps))
    return at


@task(id="fault-silent")
async def silent(ctx: TaskContext, input: Steps) -> int:
    """Goes step by step without a word, so that nothing but the fence keeps a late write out."""
    at = (ctx.state or {"at": 0})["at"]
    while at < input.steps:
        await asyncio.sleep(input.pause)
        at += 1
        await ctx.checkpoint(state={"at": at})
    return at


@task(id="fault-iterations", max_iterations=10_000)
async def iterations(ctx: TaskContext, input: Steps) -> int | Continue:
    """One step an iteration."""
    at = (ctx.state or {"at": 0})["at"] + 1
    await asyncio.sleep(input.pause)
    ctx.log.info(f"step {at}")
    return at if at >= input.steps else ctx.continue_({"at": at})


@task(id="fault-block")
async def block(ctx: TaskContext, input: Steps) -> str:
    """Blocks its worker's event loop."""
    ctx.log.info("blocking")
    await ctx.checkpoint(state={})
    time.sleep(input.pause)  # noqa: ASYNC251 — blocking is what this task is for.
    return "unblocked"


@task(id="fault-deaf")
async def deaf(ctx: TaskContext, input: Steps) -> str:
    """Reaches no checkpoint; it can only be cancelled."""
    await asyncio.sleep(input.pause)
    return "slept"


@task(id="fault-retry", retry=Retry(max_attempts=2, first_delay=0.01))
async def retry_once(ctx: TaskContext) -> int:
    """Fails once."""
    if ctx.attempt == 1:
        raise ConnectionError("once")
    return ctx.attempt


@task(id="fault-kill")
async def kill(ctx: TaskContext) -> None:
    """Kills its worker."""
    os.kill(os.getpid(), signal.SIGKILL)


class Children(BaseModel):
    delay: float
    ttl: float


@task(id="fault-triggers")
async def triggers(ctx: TaskContext, input: Children) -> str:
    """Triggers a child that starts later and does not wait for long."""
    child = await ctx.trigger("fault-steps", input={"steps": 1}, delay=input.delay, ttl=input.ttl)
    return str(child.id)


@task(id="fault-brood")
async def brood(ctx: TaskContext, input: Steps) -> list[int]:
    """Triggers a child at each step; how many it was told of, and how many there are."""
    told: set[UUID] = set()
    for _ in range(input.steps):
        await asyncio.sleep(input.pause)
        told.add((await ctx.trigger("fault-nothing")).id)
    return [len(told), len(await ctx.children())]


@task(id="fault-nothing")
async def nothing(ctx: TaskContext) -> None:
    """Does nothing."""


class Piece(BaseModel):
    tenant: str = "a"
    pause: float = 0.02
    rounds: int = 1


LIMITS = Limits(max_concurrency=5, key="tenant", max_concurrency_per_key=2)


@task(id="fault-limited", limits=LIMITS, max_iterations=100)
async def limited(ctx: TaskContext, input: Piece) -> int | Continue:
    """Sleeps a little, in as many iterations as it is told to."""
    done = (ctx.state or 0) + 1
    await asyncio.sleep(input.pause)
    return done if done >= input.rounds else ctx.continue_(done)


@task(id="fault-rated", limits=Limits(rate="10/second"))
async def rated(ctx: TaskContext) -> None:
    """Does nothing, ten times a second."""
