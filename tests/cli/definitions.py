"""What the tests of the command trigger."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from pydantic import BaseModel

from app import UniquePolicy
from workers import Continue, Progress, TaskContext, task

reached: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
"""Set by code that got somewhere, by name."""


class Numbers(BaseModel):
    numbers: list[int]


class Name(BaseModel):
    name: str


@task(id="cli-add", title="Add numbers")
async def add(ctx: TaskContext, input: Numbers) -> int:
    """Adds numbers up."""
    ctx.log.debug("Adds", count=len(input.numbers))
    ctx.log.info("Adding [bold]\x1b[31m", numbers=input.numbers)
    await ctx.checkpoint(progress=Progress(1, 2, "half way"))
    ctx.log.warning("Added")
    return sum(input.numbers)


@task(id="cli-fail", title="Fail")
async def fail(ctx: TaskContext) -> None:
    """Fails."""
    raise LookupError("no such thing")


@task(id="cli-private", title="For code alone", private=True)
async def private(ctx: TaskContext) -> None:
    """Is triggered by code alone."""


@task(id="cli-twice", title="Go on once")
async def twice(ctx: TaskContext) -> str | Continue:
    """Takes two iterations."""
    return "done" if ctx.state else ctx.continue_({"half": True})


@task(id="cli-wait", title="Wait")
async def wait(ctx: TaskContext, input: Name) -> None:
    """Waits for its abort."""
    ctx.log.info("waiting")
    reached[input.name].set()
    while True:
        await ctx.checkpoint()
        await asyncio.sleep(0.01)


@task(id="cli-circle", title="Wait in a circle")
async def circle(ctx: TaskContext, input: Name) -> str | Continue:
    """Waits for the run of the other name, which may be the one that triggered it."""
    other = {"a": "b", "b": "a"}[input.name]
    keys = {"unique_key": other, "unique_policy": UniquePolicy.RETURN_EXISTING}
    return "done" if ctx.state else ctx.wait_for([await ctx.trigger("cli-circle", input={"name": other}, **keys)])
