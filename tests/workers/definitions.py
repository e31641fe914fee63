"""The definitions that the worker tests trigger. Each does one thing; signals between test and code are events here."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from typing import Any

from pydantic import BaseModel

from app.auth import Principal
from workers import Continue, Progress, Retry, RetryLater, Stop, TaskContext, TriggerRefused, task

reached: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
"""Set by code that got somewhere, by name; each test uses names of its own."""
allowed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
"""Waited for by code, by name."""
thread_allowed: dict[str, threading.Event] = defaultdict(threading.Event)
calls: dict[str, list[Any]] = defaultdict(list)
"""What hooks were called with, by name."""


class Number(BaseModel):
    value: int


class Named(BaseModel):
    name: str


@task(id="test-double", title="Double a number")
async def double(ctx: TaskContext, input: Number) -> Number:
    """Doubles a number."""
    ctx.log.info("doubling", value=input.value)
    return Number(value=2 * input.value)


async def check_slowly(input: Named, principal: Principal) -> None:
    reached[input.name].set()
    await allowed[input.name].wait()


@task(id="test-checked-slowly", before_trigger=check_slowly)
async def checked_slowly(ctx: TaskContext, input: Named) -> None:
    """May be triggered when the test allows it."""


@task(id="test-order", max_iterations=2, retry=Retry(max_attempts=2))
async def order(ctx: TaskContext, input: Number) -> Continue | None:
    """Notes when it is its turn; the first time 1 asks for another attempt in an hour, 2 for another iteration."""
    if input.value == 1 and ctx.attempt == 1:
        raise RetryLater(3600)
    if input.value == 2 and ctx.iteration == 1:
        return ctx.continue_({}, delay=3600)
    calls["order"].append(ctx.run_id)
    return None


@task(id="test-at-once")
async def at_once(ctx: TaskContext) -> None:
    """Notes how many of it are executed at the same time."""
    calls["under way"].append(ctx.run_id)
    calls["at once"].append(len(calls["under way"]))
    await asyncio.sleep(0.01)
    calls["under way"].remove(ctx.run_id)


@task(id="test-double-plain")
def double_plain(ctx: TaskContext, input: Number) -> Number:
    """Doubles a number in a thread, checkpoint included."""
    ctx.log.info("in thread", thread=threading.current_thread() is not threading.main_thread())
    ctx.checkpoint(state={"half": input.value}, progress=(1, 2, "half way"))
    ctx.log.info("state is saved", state=ctx.state)
    return Number(value=2 * input.value)


@task(id="test-nothing")
async def nothing(ctx: TaskContext) -> None:
    """Takes no input and returns nothing."""


@task(id="test-count", max_iterations=5)
async def count(ctx: TaskContext, input: Number) -> Number | Continue:
    """Counts to a value, one step an iteration."""
    at = (ctx.state or {"at": 0})["at"] + 1
    ctx.log.info(f"at {at}")
    return Number(value=at) if at >= input.value else ctx.continue_({"at": at})


@task(id="test-count-limit", max_iterations=2, on_max_iterations=lambda ctx: calls["limit"].append(ctx.iteration))
async def count_for_ever(ctx: TaskContext) -> Continue:
    """Never stops by itself."""
    return ctx.continue_()


@task(id="test-later", max_iterations=2)
async def later(ctx: TaskContext) -> Continue | None:
    """Continues once, after a tenth of a second."""
    return ctx.continue_({"slept": True}, delay=0.1) if ctx.state is None else None


@task(id="test-checkpoints", on_abort=lambda ctx: calls[ctx.name].append("on_abort"))
async def checkpoints(ctx: TaskContext, input: Named) -> None:
    """Reaches a checkpoint every few milliseconds, for ever."""
    step = (ctx.state or {"step": 0})["step"]
    while True:
        step += 1
        await ctx.checkpoint(state={"step": step}, progress=Progress(current=step))
        ctx.log.info(f"step {step}")
        reached[input.name].set()
        await asyncio.sleep(0.005)


@task(id="test-checkpoints-plain")
def checkpoints_plain(ctx: TaskContext, input: Named) -> None:
    """The same in a thread."""
    step = 0
    while True:
        step += 1
        ctx.checkpoint(state={"step": step})
        ctx.log.info(f"step {step}")
        thread_allowed[input.name].wait(0.005)


@task(id="test-deaf")
async def deaf(ctx: TaskContext, input: Named) -> str:
    """Reaches no checkpoint until it is allowed to return."""
    reached[input.name].set()
    await allowed[input.name].wait()
    return "returned"


@task(id="test-deaf-plain", timeout=0.2)
def deaf_plain(ctx: TaskContext, input: Named) -> str:
    """The same in a thread, with a timeout; tries to log after it was given up."""
    thread_allowed[input.name].wait(20)
    try:
        ctx.log.info("too late")
    except Stop as stop:
        calls[input.name].append(stop.reason)
        raise
    return "returned"


@task(id="test-timeout", timeout=0.1)
async def too_slow(ctx: TaskContext) -> None:
    """Runs into its timeout."""
    await asyncio.sleep(30)


@task(id="test-close-to-timeout", timeout=30.0, max_iterations=3)
async def close_to_timeout(ctx: TaskContext) -> str | Continue:
    """Continues where its timeout is near."""
    if ctx.state is None and ctx.is_close_to_timeout(31):
        return ctx.continue_({"was_close": True})
    return "close" if ctx.state and not ctx.is_close_to_timeout(1) else "not close"


@task(
    id="test-flaky",
    retry=Retry(max_attempts=3, first_delay=0.01, jitter=False),
    on_done=lambda ctx, output: calls[ctx.name].append(("done", output)),
    on_error=lambda ctx, error: calls[ctx.name].append(("error", str(error))),
)
async def flaky(ctx: TaskContext, input: Number) -> int:
    """Fails until its attempt has the given number."""
    ctx.log.info(f"attempt {ctx.attempt}")
    if ctx.attempt < input.value:
        raise ConnectionError(f"attempt {ctx.attempt} failed")
    return ctx.attempt


@task(id="test-retry-later", retry=Retry(max_attempts=2))
async def retry_later(ctx: TaskContext) -> int:
    """Asks to be tried again later, once."""
    if ctx.attempt == 1:
        raise RetryLater(0.01)
    return ctx.attempt


@task(id="test-exit", retry=Retry(max_attempts=3))
async def exits(ctx: TaskContext) -> None:
    """Raises what is no Exception."""
    raise SystemExit(3)


class Silent(Exception):
    def __str__(self) -> str:
        return ""


class Unreadable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@task(id="test-poison")
async def poison(ctx: TaskContext, input: Named) -> Any:
    """Does what a worker has to survive, by name."""
    match input.name:
        case "silent":
            raise Silent
        case "unreadable":
            raise Unreadable
        case "nul in output":
            return "a\x00b"
        case "nul in log":
            ctx.log.info("a\x00b", data="c\x00d")
            return "logged"
        case "nul in error":
            raise ValueError("a\x00b")
        case "nul in state":
            await ctx.checkpoint(state={"a": "\x00"})
        case "surrogate in log":
            ctx.log.info("a\ud800b")
            return "logged"
        case "huge line":
            ctx.log.info("x" * 10_000_000, more="y" * 10_000_000)
            return "logged"
        case "no json":
            return object()
        case "huge output":
            return "x" * 50_000_000
        case "stop iteration":
            raise StopIteration("x")
        case "cancelled":
            raise asyncio.CancelledError
        case "much log":
            for _ in range(100_000):
                ctx.log.info("x" * 1000)
    return None


@task(id="test-logging")
async def logs(ctx: TaskContext) -> None:
    """Writes every level, and with the standard library, in a thread too."""
    ctx.log.debug("debug")
    ctx.log.warning("warning", number=1)
    ctx.log.error("error")
    logging.getLogger("my.library").warning("from %s", "a library")
    await asyncio.to_thread(logging.getLogger("my.library").info, "from a thread")


@task(id="test-parent", max_iterations=2)
async def parent(ctx: TaskContext, input: Number) -> list[int] | Continue:
    """Triggers children, waits for them without holding a slot, and adds up their outputs."""
    if ctx.state is None:
        children = [await ctx.trigger("test-double", input={"value": n}) for n in range(input.value)]
        return ctx.wait_for(children, state={"waited": True})
    return [child.output["value"] for child in await ctx.children()]


@task(id="test-parent-plain", max_iterations=2)
def parent_plain(ctx: TaskContext) -> int | Continue:
    """The same in a thread."""
    if ctx.state is None:
        child: Any = ctx.trigger("test-private", input={"value": 4})
        return ctx.wait_for([child], state={"waited": True})
    children: Any = ctx.children()
    return children[0].output["value"]


@task(id="test-family", max_iterations=2)
async def family(ctx: TaskContext, input: Named) -> str | Continue:
    """Waits for a child that never ends by itself."""
    if ctx.state is None:
        child = await ctx.trigger("test-checkpoints", input={"name": input.name}, name=input.name)
        return ctx.wait_for([child], state={"waited": True})
    return (await ctx.children())[0].status


@task(id="test-late-child")
async def late_child(ctx: TaskContext, input: Named) -> None:
    """Triggers a child when it is allowed to."""
    reached[input.name].set()
    await allowed[input.name].wait()
    await ctx.trigger("test-nothing")


@task(id="test-private", private=True)
async def private(ctx: TaskContext, input: Number) -> Number:
    """Hidden from lists."""
    return Number(value=input.value + 1)


def only_even(input: Number, principal: object) -> None:
    if input.value % 2:
        raise TriggerRefused("Only even numbers are allowed.")


@task(id="test-even", before_trigger=only_even)
async def even(ctx: TaskContext, input: Number) -> int:
    """Takes even numbers only."""
    return input.value


def fails_in_hook(ctx: TaskContext, output: object) -> None:
    raise RuntimeError("the hook is broken")


@task(id="test-broken-hook", on_done=fails_in_hook)
async def broken_hook(ctx: TaskContext) -> str:
    """Its hook fails, the run does not."""
    return "fine"


@task(id="test-stubborn")
async def stubborn(ctx: TaskContext, input: Named) -> None:
    """Swallows its first cancellation."""
    reached[input.name].set()
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)
