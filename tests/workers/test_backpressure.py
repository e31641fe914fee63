"""A full queue and the runs that are there already: their children are refused, and they themselves never."""

from __future__ import annotations

import pytest

from app import QueueFull, TaskService
from app.registry import Continue, Definition, Registry
from app.retry import Retry
from app.settings import Settings
from app.states import TaskRunStatus
from tests.workbench import until_status, working
from workers import TaskContext


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Two runs may wait in the queue that the worker serves."""
    return settings.model_copy(update={"queue_limits": (("default", 2),)})


async def persistent(ctx: TaskContext) -> str | Continue:
    """Fills its queue, is refused one child more, and goes on by a retry and another iteration."""
    if ctx.iteration == 2:
        return ctx.state["refusal"]
    if ctx.attempt == 1:
        for _ in range(2):
            await ctx.trigger("persistent", delay=3600)
        raise ConnectionError("once")
    try:
        await ctx.trigger("persistent")
    except QueueFull as refusal:
        return ctx.continue_({"refusal": refusal.message}, delay=0.01)
    raise AssertionError("the queue should be full")


async def test_a_child_is_refused_and_its_parent_s_retries_and_iterations_are_not(
    settings: Settings, tasks: TaskService
) -> None:
    registry = Registry()
    registry.add(
        Definition(
            id="persistent", function=persistent, title="Persistent", input_type=None, max_iterations=2,
            retry=Retry(max_attempts=2, first_delay=0.01),
        )
    )  # fmt: skip
    async with working(settings, registry, dispatch_seconds=0.05):
        run = await until_status(tasks, (await tasks.trigger("persistent")).id, TaskRunStatus.SUCCEEDED)
    assert run.output.startswith("Queue 'default' is full: about 2 runs wait in it, and it takes 2 (")
