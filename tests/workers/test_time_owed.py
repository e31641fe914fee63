"""What runs are owed: time that they wait for others, and that of their hooks, is no part of their timeouts."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from app import TaskService
from app.registry import Definition, Registry
from app.settings import Settings
from app.states import TaskRunStatus
from tests.workbench import connected, until, until_status, working
from workers import TaskContext


async def test_a_hook_has_its_time_beside_the_timeout_though_the_run_is_being_written_when_it_begins(
    settings: Settings, tasks: TaskService
) -> None:
    returns, begun, ends, registry = asyncio.Event(), asyncio.Event(), asyncio.Event(), Registry()

    async def code(_ctx: TaskContext) -> None:
        await returns.wait()

    async def hook(_ctx: TaskContext, _output: object) -> None:
        begun.set()
        await ends.wait()

    registry.add(Definition("hooked", code, "Hooked", timeout=20.0, on_done=hook))
    async with working(settings, registry), connected(settings) as connection:
        run = await tasks.trigger("hooked")
        await until_status(tasks, run.id, TaskRunStatus.RUNNING)
        async with connection.transaction():
            await connection.fetch("SELECT FROM task_runs FOR UPDATE")
            returns.set()
            await begun.wait()
        query = "SELECT deadline_at - claimed_at = interval '50 s' FROM task_runs"
        await until(lambda: connection.fetchval(query))
        ends.set()
        run = await tasks.wait(run.id, timeout=timedelta(seconds=30))
    assert run.status is TaskRunStatus.SUCCEEDED
