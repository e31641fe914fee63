"""The heartbeat waits for nobody: not for a connection that a chore holds, not for a table that somebody has locked.

And what becomes of the runs when there is none in time, or their event loop is stuck.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app import TaskService
from app.db import plain_url
from app.errors import ServiceUnavailable
from app.registry import Definition, Registry
from app.service.calling import calling_within
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.test_workers_that_die import outcomes
from tests.service.lossy import lossy
from tests.service.scheduled import HOURLY, execute, saved_task
from tests.workbench import no_heartbeat, until, until_status, working
from workers import TaskContext
from workers.lease import HOUSEKEEPING_CONNECTIONS
from workers.owed import Claims, Owed
from workers.term import Term
from workers.watchdog import LOOK_SECONDS, Watchdog

LEASE_SECONDS = 1.0
# Whoever only reads passes; dispatcher, reaper, summariser and the runs of two ticks do not.
LOCK = "LOCK TABLE task_runs, task_summary_mark IN EXCLUSIVE MODE"
# By one statement, because a scheduler that has found one of them looks for no other.
BOTH_DUE = """
    UPDATE schedules SET next_tick_at = date_trunc('hour', now()), next_due_at = date_trunc('hour', now()),
        active_since = date_trunc('hour', now())"""
STUCK = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
OUTLIVED = "SELECT bool_and(lease_expires_at > $1::timestamptz + make_interval(secs => 2 * $2)) FROM workers"


async def test_a_lease_outlives_its_length_while_every_chore_is_stuck_and_the_run_finishes(
    settings: Settings, tasks: TaskService
) -> None:
    allowed = asyncio.Event()

    async def patient(ctx: TaskContext) -> None:
        await allowed.wait()

    registry = Registry()
    registry.add(Definition(id="patient", function=patient, title="Patient", input_type=None))
    quick = {"lease_seconds": LEASE_SECONDS, "heartbeat_seconds": 0.1, "dispatch_seconds": 0.05, "reap_seconds": 0.05}
    connection: Any = await asyncpg.connect(plain_url(settings.database_url))
    async with working(settings, registry, **quick):
        run = await tasks.trigger("patient")
        await until_status(tasks, run.id, TaskRunStatus.RUNNING)
        for _ in range(2):
            await tasks.schedules.create(await saved_task(settings, "patient", "{}"), HOURLY)
        async with connection.transaction():
            await connection.execute(LOCK)
            began = await connection.fetchval("SELECT clock_timestamp()")
            await execute(settings, BOTH_DUE)

            async def all_stuck() -> bool:
                # Not within the transaction, which sees others as they were when it first looked.
                return (await execute(settings, STUCK))[0][0] >= HOUSEKEEPING_CONNECTIONS

            await until(all_stuck, patience=20)
            await until(lambda: connection.fetchval(OUTLIVED, began, LEASE_SECONDS), patience=20)
        allowed.set()
        ended = await until_status(tasks, run.id, TaskRunStatus.SUCCEEDED)
    await connection.close()
    assert (ended.attempt, ended.interruptions, ended.claim_no) == (1, 0, 1)


def patient_one() -> tuple[list[int], asyncio.Event, Registry]:
    """A definition ``patient`` whose runs note their attempt when they begin, and end when they are allowed to."""
    began: list[int] = []
    allowed = asyncio.Event()

    async def patient(ctx: TaskContext) -> None:
        began.append(ctx.attempt)
        await allowed.wait()

    registry = Registry()
    registry.add(Definition(id="patient", function=patient, title="Patient", input_type=None))
    return began, allowed, registry


async def test_a_heartbeat_whose_connection_goes_silent_goes_on_with_another_one_before_the_lease_is_over(
    settings: Settings, tasks: TaskService
) -> None:
    began, allowed, registry = patient_one()
    async with lossy(settings.database_url) as proxy:
        far = settings.model_copy(update={"database_url": proxy.url})
        async with working(far, registry, lease_seconds=3.0, heartbeat_seconds=0.5) as worker:
            run = await tasks.trigger("patient")
            await until(lambda: began)
            # Nothing but a heartbeat says who and where it is. The connection is not closed; it only gives no answer.
            host = socket.gethostname().encode()
            proxy.keep_reply_to(worker.engine.claimant.owner.bytes + len(host).to_bytes(4, "big") + host)
            await until(lambda: proxy.kept)
            silent = time.monotonic()
            await until(lambda: time.monotonic() > silent + 3.0)
            assert worker.engine.runner.term.covers(silent)
            allowed.set()
            run = await until_status(tasks, run.id, TaskRunStatus.SUCCEEDED)
    assert (began, run.interruptions, run.claim_no) == ([1], 0, 1)


async def test_runs_are_given_back_when_the_lease_is_over_though_the_answer_to_the_heartbeat_is_still_to_come(
    settings: Settings, tasks: TaskService
) -> None:
    began, allowed, registry = patient_one()
    # Nobody reaps, so that nothing but the worker's own knowledge of its lease stops the run.
    quick = {"lease_seconds": LEASE_SECONDS, "heartbeat_seconds": 0.1, "reap_seconds": 3600.0}
    async with working(settings, registry, **quick) as worker:
        run = await tasks.trigger("patient")
        await until(lambda: began)
        async with no_heartbeat(settings, os.getpid()):
            await until(lambda: not worker.engine.runner.running)
            assert (await tasks.get(run.id)).status is TaskRunStatus.QUEUED
            assert worker.engine.runner.free == 0
        allowed.set()
        run = await until_status(tasks, run.id, TaskRunStatus.SUCCEEDED)
    assert (began, run.interruptions) == ([1, 1], 1)
    assert await outcomes(tasks, run) == ["INTERRUPTED", "SUCCEEDED"]


async def test_who_waits_for_a_stuck_event_loop_gets_its_time_back_and_goes_on_as_soon_as_it_turns() -> None:
    one, two = {UUID(int=1): 1}, {UUID(int=2): 1}
    runner: Any = SimpleNamespace(running={}, timed={**one, **two}, lost_seconds=0.0, owed=Owed())
    watchdog, stuck = Watchdog(runner), threading.Event()
    watchdog.begin()

    given_back: list[tuple[Claims, float]] = []

    async def put_off(claims: Claims, seconds: float) -> Claims:
        given_back.append((claims, seconds))
        if len(given_back) == 1:
            raise TimeoutError
        return one if len(given_back) == 2 else {}

    async def watch() -> float:
        for _ in range(3):
            await watchdog.look()
        seconds = watchdog.stuck_seconds
        with contextlib.suppress(TimeoutError):
            await runner.owed.give_back(put_off)
        for _ in range(3):
            await runner.owed.give_back(put_off)
        asyncio.get_running_loop().call_soon(stuck.set)
        await watchdog.until_it_turns(20.0)
        return seconds

    watching = asyncio.create_task(asyncio.to_thread(asyncio.run, watch()))
    await asyncio.sleep(0)
    # This is the event loop that is stuck.
    assert stuck.wait(60)
    assert await asyncio.wait_for(watching, 10) == 2 * LOOK_SECONDS
    assert watchdog.stuck_seconds == 0.0
    asked = [(claims, 2 * LOOK_SECONDS) for claims in ({**one, **two}, {**one, **two}, one)]
    assert given_back == asked, "what a slow database refused, and who was locked, is given it later, once"


async def test_a_tick_is_left_to_others_where_the_event_loop_is_stuck_before_its_checks_are_called() -> None:
    async def check() -> None: ...

    call = calling_within(0.1, asyncio.get_running_loop())
    with ThreadPoolExecutor() as threads, pytest.raises(ServiceUnavailable, match="stuck"):
        # This is the event loop that is stuck.
        threads.submit(asyncio.run, call(check)).result(60)


def test_a_term_covers_the_time_since_it_began_and_not_what_was_before_a_gap() -> None:
    term = Term()
    assert term.is_over
    before = time.monotonic()
    term.renew(before + 3600)
    during = time.monotonic()
    assert (term.covers(before), term.covers(during)) == (False, True)
    term.renew(before + 7200)
    assert term.covers(during)
    term.end()
    assert (term.is_over, term.covers(during)) == (True, False)
    term.renew(before + 7200)
    assert (term.is_over, term.covers(during), term.covers(time.monotonic())) == (False, False, True)
