"""Polling, while Redis is away: in which order, and what one queue gave whatever another one is in trouble with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from app import TaskService
from app.db import Database
from app.states import TaskRunStatus
from tests.service.conftest import Hand
from tests.service.limited import execute

REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not this queue''; END';
    CREATE TRIGGER refuse BEFORE UPDATE ON task_runs FOR EACH ROW
        WHEN (NEW.queue = 'quick') EXECUTE FUNCTION refuse()"""


@pytest.fixture
async def quick_in_trouble(db: Database) -> AsyncIterator[None]:
    """PostgreSQL refuses every claim from the queue "quick"."""
    async with db.autocommit() as pipe:
        await pipe.execute(REFUSE)
    yield
    await execute(db, "DROP FUNCTION refuse CASCADE")


@pytest.mark.usefixtures("quick_in_trouble")
async def test_a_run_claimed_from_one_queue_is_not_forgotten_when_polling_another_one_fails(
    tasks: TaskService, hand: Hand
) -> None:
    run = await tasks.trigger("echo", queue="default")
    await tasks.trigger("echo", queue="quick")
    claimed, troubles = [], 0
    # Another queue is first each time: once there is something to keep when "quick" fails, and once there is nothing.
    for _ in range(2):
        try:
            claimed += [held.id for held in await hand.claim(10)]
        except asyncpg.RaiseError:
            troubles += 1
    assert (claimed, troubles) == ([run.id], 1)
    assert (await tasks.get(run.id)).status is TaskRunStatus.RUNNING


async def test_runs_that_are_claimed_together_start_in_the_order_in_which_they_became_due(
    tasks: TaskService, hand: Hand, db: Database
) -> None:
    retried = await tasks.trigger("echo", queue="default")
    others = [await tasks.trigger("echo", queue="default") for _ in range(2)]
    await execute(db, f"UPDATE task_runs SET due_at = now() WHERE id = '{retried.id}'")
    assert [held.id for held in await hand.claim(10)] == [*(run.id for run in others), retried.id]
