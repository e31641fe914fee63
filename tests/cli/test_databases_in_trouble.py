"""Commands whose PostgreSQL answers and cannot do what it is asked: they say that, and not that it is away."""

from __future__ import annotations

import asyncio

import pytest

from app import TaskService
from app.settings import Settings
from tests.cli.command import Command
from tests.faults.test_databases_in_trouble import TROUBLE, trouble
from tests.operations.outages import as_role
from tests.workbench import connected


@pytest.mark.parametrize("code", TROUBLE.values(), ids=TROUBLE.keys())
async def test_a_command_that_cannot_store_anything_says_so_with_the_words_of_postgresql(
    settings: Settings, taskloom: Command, tasks: TaskService, code: str
) -> None:
    run = await tasks.trigger("cli-add", input={"numbers": []}, delay=3600)
    async with (
        connected(settings) as connection,
        trouble(connection, code, "task_runs", "tasks", event="INSERT OR UPDATE"),
    ):
        # At once, because each tries for seconds.
        triggered, aborted, created = await asyncio.gather(
            taskloom("trigger", "cli-add", "-i", '{"numbers": [1]}'),
            taskloom("runs", "abort", str(run.id)),
            taskloom("tasks", "create", "Mine", "cli-add", "-i", '{"numbers": []}'),
        )
    assert [answer.code for answer in (triggered, aborted, created)] == [3, 3, 3]
    for answer in (triggered, aborted, created):
        assert answer.sentence.endswith(" It says: in trouble."), answer.sentence
        assert "does not answer" not in answer.sentence
    assert "nothing was stored" in triggered.sentence
    assert await tasks.count() == 1


async def test_a_command_that_does_not_know_what_became_of_its_trigger_says_so(
    settings: Settings, taskloom: Command, tasks: TaskService
) -> None:
    await tasks.trigger("cli-add", input={"numbers": []}, delay=3600)
    async with connected(settings) as connection, trouble(connection, "08006", "task_runs"):
        answer = await taskloom("trigger", "cli-add", "-i", '{"numbers": [1]}')
    assert answer.code == 3
    assert "it is not known whether it was. Triggering with --idempotency-key can be repeated safely" in answer.sentence


async def test_a_database_that_takes_no_more_connections_is_not_called_away(
    settings: Settings, taskloom: Command
) -> None:
    async with connected(settings) as connection:
        await connection.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
        answer = await taskloom("runs", "list", DATABASE_URL=as_role(settings.database_url, "crowded", "any"))
        await connection.execute("DROP ROLE crowded")
    assert answer.code == 3
    assert "answers, but cannot do this just now; try again shortly. It says: too many connections" in answer.sentence


async def test_a_role_without_the_right_is_told_what_it_lacks(settings: Settings, taskloom: Command) -> None:
    async with connected(settings) as connection:
        await connection.execute("CREATE ROLE poor LOGIN")
        poor = as_role(settings.database_url, "poor", "any")
        answers = await asyncio.gather(*(taskloom(command, DATABASE_URL=poor) for command in ("migrate", "stats")))
        await connection.execute("DROP ROLE poor")
    assert [answer.code for answer in answers] == [3, 3]
    for answer in answers:
        assert "does not let this role do that: permission denied for table" in answer.sentence
