"""The tasks of the chaos run. Whatever they write carries the number of the claim under which they write it.

So the checker can tell, for every state, line, output and error, which attempt it came from.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from pydantic import BaseModel

from workers import Continue, Retry, TaskContext, task

RETRIES = 4
PATIENT = Retry(max_attempts=200, first_delay=0.05, cap=0.3)
"""For code that calls the service and so fails while the database is away."""


class Work(BaseModel):
    """What a run has to do: so many steps with a pause in each; ``fails`` is how many attempts raise."""

    steps: int = 1
    pause: float = 0.0
    fails: int = 0


def claim_of(ctx: TaskContext) -> int:
    """The claim under which the code runs; nothing that task code should need otherwise."""
    return ctx._held.claim_no


def done(ctx: TaskContext, at: int) -> dict[str, int]:
    """A state or an output."""
    return {"at": at, "claim": claim_of(ctx)}


def reached(ctx: TaskContext) -> int:
    """The last step that was saved."""
    return (ctx.state or {"at": 0})["at"]


@task(id="chaos-steps")
async def steps(ctx: TaskContext, input: Work) -> dict[str, int]:
    """A step's line and its state are saved together, so that no step may be missing or repeated."""
    at = reached(ctx)
    while at < input.steps:
        await asyncio.sleep(input.pause)
        at += 1
        ctx.log.info(f"step {at}", claim=claim_of(ctx))
        await ctx.checkpoint(state=done(ctx, at), progress=(at, input.steps))
    return done(ctx, at)


@task(id="chaos-chatter")
async def chatter(ctx: TaskContext, input: Work) -> dict[str, int]:
    """Lines and states at different times, so that they meet in one flush in every combination."""
    at = reached(ctx)
    while at < input.steps:
        at += 1
        ctx.log.info(f"step {at}", claim=claim_of(ctx))
        await asyncio.sleep(input.pause)
        await ctx.checkpoint(state=done(ctx, at))
        await asyncio.sleep(input.pause)
    return done(ctx, at)


@task(id="chaos-iterations", max_iterations=1000)
async def iterations(ctx: TaskContext, input: Work) -> dict[str, int] | Continue:
    """One step an iteration; every third comes back later."""
    at = reached(ctx) + 1
    await asyncio.sleep(input.pause)
    ctx.log.info(f"step {at}", claim=claim_of(ctx))
    if at >= input.steps:
        return done(ctx, at)
    return ctx.continue_(done(ctx, at), delay=0.1 if at % 3 == 0 else 0.0)


@task(id="chaos-flaky", retry=Retry(max_attempts=RETRIES, first_delay=0.02, cap=0.2))
async def flaky(ctx: TaskContext, input: Work) -> dict[str, int]:
    """Raises in its first attempts, as many as it is told."""
    ctx.log.warning(f"step {ctx.attempt}", claim=claim_of(ctx))
    await asyncio.sleep(input.pause)
    if ctx.attempt <= input.fails:
        raise ConnectionError(f"claim {claim_of(ctx)}")
    return done(ctx, ctx.attempt)


@task(id="chaos-family", max_iterations=2, retry=PATIENT)
async def family(ctx: TaskContext, input: Work) -> dict[str, Any] | Continue:
    """Triggers children, each under a key of its own, and goes on when all are final."""
    if ctx.iteration == 1:
        child = {"steps": 3, "pause": input.pause}
        children = [
            await ctx.trigger("chaos-steps", input=child, idempotency_key=f"{ctx.run_id}:{n}")
            for n in range(input.steps)
        ]
        return ctx.wait_for(children, state=done(ctx, len(children)))
    statuses = [str(child.status) for child in await ctx.children()]
    ctx.log.info("step 1", claim=claim_of(ctx))
    return {**done(ctx, len(statuses)), "children": statuses}


@task(id="chaos-plain")
def plain(ctx: TaskContext, input: Work) -> dict[str, int]:
    """Steps in a thread."""
    at = reached(ctx)
    while at < input.steps:
        time.sleep(input.pause)
        at += 1
        ctx.log.info(f"step {at}", claim=claim_of(ctx))
        ctx.checkpoint(state=done(ctx, at))
    return done(ctx, at)
