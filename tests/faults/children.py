"""Definitions that start processes, by the context and by themselves; loaded by TASKLOOM_TASKS."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any

from pydantic import BaseModel

from workers import Continue, TaskContext, task

FAMILY = "trap '' TERM; sleep 300 & echo $! $$ > {path}.new; mv {path}.new {path}; wait; sleep 300"
"""A process that is deaf to SIGTERM, and a child of its own; tells the numbers of both."""


class Numbers(BaseModel):
    path: str
    stay: bool = True


@task(id="children-family")
async def family(ctx: TaskContext, input: Numbers) -> None:
    """Runs a family that does not end by itself."""
    await ctx.run_process("sh", "-c", FAMILY.format(path=f"{input.path}.{ctx.attempt}.{os.getpid()}"))


@task(id="children-family-plain")
def family_plain(ctx: TaskContext, input: Numbers) -> None:
    """The same in a thread."""
    ctx.run_process("sh", "-c", FAMILY.format(path=f"{input.path}.{ctx.attempt}.{os.getpid()}"))


@task(id="children-left", max_iterations=2)
async def left(ctx: TaskContext, input: Numbers) -> str | Continue:
    """Its process ends and leaves one behind; or the code returns in time, and a process is deaf beyond the timeout."""
    if ctx.iteration == 2:
        return "returned"
    if input.stay:
        waiting = asyncio.create_task(family(ctx, input))
        has_begun = re.compile(rf".*\.{os.getpid()}").fullmatch
        while not (ctx.is_close_to_timeout(1.0) and any(map(has_begun, os.listdir(os.path.dirname(input.path))))):
            await asyncio.wait([waiting], timeout=0.01)
        return ctx.continue_()
    path = f"{input.path}.{ctx.attempt}.{os.getpid()}"
    await ctx.run_process("sh", "-c", f"sleep 300 & echo $! > {path}")
    return "returned"


@task(id="children-talk")
async def talk(ctx: TaskContext) -> dict[str, Any]:
    """Input, output, exit codes, and a program that is not there."""
    echo = await ctx.run_process("cat", input=b"hello")
    much = await ctx.run_process(sys.executable, "-c", "print('x' * 5_000_000 + 'end')", limit=10)
    code = await ctx.run_process("sh", "-c", "exit 3", check=False)
    killed = await ctx.run_process("sh", "-c", "echo loud; kill -9 $$", check=False, limit=0)
    where = await ctx.run_process("sh", "-c", "pwd; echo $WORD", cwd="/", env={"WORD": "given"})
    missing = await ctx.run_process("no-such-program", check=False)
    return {
        "echo": echo.stdout.decode(),
        "much": much.stdout.decode(),
        "codes": [code.returncode, killed.returncode, missing.returncode],
        "where": where.stdout.decode(),
        "missing": missing.stderr.decode(),
        "unwanted": killed.stdout.decode(),
    }


@task(id="children-fail")
def fail(ctx: TaskContext) -> None:
    """A program that fails, with a last word."""
    ctx.run_process("sh", "-c", "echo what is wrong >&2; exit 3")


@task(id="children-multiprocessing")
def forked(ctx: TaskContext) -> list[int | None]:
    """Ends two processes of its own by SIGTERM: one without, one with a handler for it."""
    fork = multiprocessing.get_context("fork")
    asleep = fork.Process(target=time.sleep, args=(60,))
    asleep.start()
    asleep.terminate()
    ready = fork.Event()
    polite = fork.Process(target=wait_politely, args=(ready,))
    polite.start()
    ready.wait()
    polite.terminate()
    for process in (asleep, polite):
        process.join()
    return [asleep.exitcode, polite.exitcode]


def wait_politely(ready: Any) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
    ready.set()
    time.sleep(60)


@task(id="children-fork")
async def fork(ctx: TaskContext) -> int:
    """Forks in the middle of the event loop; the child comes back into its worker's code, and tries to act as it."""
    pid = os.fork()
    if pid == 0:
        try:
            await ctx.checkpoint(state="from the child")
            ctx.log.info("from the child")
        finally:
            return -1  # noqa: B012 — whatever happened.
    return await asyncio.to_thread(exit_code, pid)


@task(id="children-fork-yield")
async def fork_yield(ctx: TaskContext) -> int:
    """Forks; the child goes back to the event loop."""
    pid = os.fork()
    if pid == 0:
        while True:
            await ctx.checkpoint()
    return await asyncio.to_thread(exit_code, pid)


@task(id="children-fork-plain")
def fork_plain(ctx: TaskContext) -> int:
    """Forks in a thread; the child returns as if it were the task."""
    pid = os.fork()
    return -1 if pid == 0 else exit_code(pid)


@task(id="children-preexec")
def preexec(ctx: TaskContext) -> str:
    """Starts a program by itself, with a function between fork and exec."""
    return subprocess.run(["echo", "fine"], preexec_fn=os.getpid, check=True, capture_output=True).stdout.decode()


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
