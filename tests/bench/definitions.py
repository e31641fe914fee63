"""What the benchmark's workers execute; loaded by TASKLOOM_TASKS."""

from __future__ import annotations

import asyncio
import time

from workers import TaskContext, task


@task(id="bench-nothing")
async def nothing(ctx: TaskContext) -> None:
    """Three log lines, and nothing else."""
    ctx.log.info("one")
    ctx.log.info("two")
    ctx.log.info("three")


@task(id="bench-silent")
async def silent(ctx: TaskContext) -> None:
    """Nothing at all."""


@task(id="bench-compute")
async def compute(ctx: TaskContext) -> None:
    """A millisecond of processor time."""
    end = time.thread_time() + 0.001
    while time.thread_time() < end:
        pass


@task(id="bench-first-line")
async def first_line(ctx: TaskContext) -> float:
    """When its first line was executed."""
    return time.time()


@task(id="bench-talk")
async def talk(ctx: TaskContext) -> None:
    """Logs the time every 20 ms, a hundred times."""
    for _ in range(100):
        await asyncio.sleep(0.02)
        ctx.log.info(f"at {time.time()}")


@task(id="bench-checkpoints")
async def checkpoints(ctx: TaskContext) -> None:
    """A checkpoint every 10 ms, until it is aborted."""
    while True:
        await asyncio.sleep(0.01)
        await ctx.checkpoint()
