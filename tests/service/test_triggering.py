"""What a trigger stores, and that what was acknowledged is there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from app import TaskRunStatus, TaskService, Triggered, TriggerRequest
from app.auth import Principal, PrincipalKind
from app.definitions import publish
from app.doorbell import queue_key
from app.errors import InvalidArgument, InvalidTaskInput, TaskDefinitionNotFound
from app.registry import Registry
from app.settings import Settings
from tests.service.conftest import EchoInput, definition, service


async def test_a_trigger_gives_the_run_exactly_as_it_is_stored(tasks: TaskService) -> None:
    parent = await tasks.trigger("echo")
    run = await tasks.trigger(
        "echo",
        input={"text": "grüße", "count": 2},
        name="Übung",
        delay=timedelta(minutes=5),
        priority=-7,
        tags=['a"\\,b', "{x}", "NULL", "ü"],
        queue="slow.1",
        parent=parent,
        timeout=1.5,
        max_attempts=4,
        ttl=3600.0,
        idempotency_key="key",
        unique_key="unique",
    )
    stored = await tasks.get(run.id)
    assert stored.model_dump() == run.model_dump()
    assert (stored.status, stored.name, stored.priority, stored.queue) == (
        TaskRunStatus.SCHEDULED, "Übung", -7, "slow.1",
    )  # fmt: skip
    assert stored.tags == ['a"\\,b', "{x}", "NULL", "ü"]
    assert stored.input == {"text": "grüße", "count": 2}
    assert stored.start_at - stored.created_at == timedelta(minutes=5)
    assert stored.expires_at == stored.start_at + timedelta(hours=1)
    assert stored.parent_id == parent.id


async def test_what_is_not_given_comes_from_the_definition(tasks: TaskService) -> None:
    run = await tasks.get((await tasks.trigger("echo")).id)
    assert (run.name, run.queue, run.priority, run.timeout_seconds) == ("Echo", "quick", 5, 60.0)
    assert (run.max_iterations, run.max_attempts, run.input, run.tags) == (500, 1, {}, [])
    assert (run.status, run.due_at, run.created_by) == (TaskRunStatus.QUEUED, run.start_at, "USER:local-admin")


async def test_a_time_too_short_to_be_stored_is_the_shortest_and_not_none(tasks: TaskService) -> None:
    run = await tasks.get((await tasks.trigger("echo", ttl=1e-9, timeout=1e-9)).id)
    assert run.expires_at == run.start_at + timedelta(microseconds=1)
    assert run.timeout_seconds == 1e-6


async def test_a_start_time_in_the_past_is_due_at_once(tasks: TaskService) -> None:
    run = await tasks.trigger("echo", start_at=datetime(2025, 1, 1, tzinfo=UTC))
    assert run.status is TaskRunStatus.QUEUED


async def test_a_pydantic_model_is_an_input_too(tasks: TaskService) -> None:
    assert (await tasks.trigger("echo", input=EchoInput(text="x"))).input == {"text": "x", "count": 1}


async def test_the_author_of_a_run_is_the_principal_who_triggered_it(tasks: TaskService) -> None:
    ada = Principal(PrincipalKind.USER, "ada")
    triggered = await tasks.submit(TriggerRequest(definition_id="echo"), principal=ada)
    assert triggered.run.created_by == "USER:ada"


async def test_a_run_that_is_due_is_rung_and_one_for_later_is_not(tasks: TaskService, redis_url: str) -> None:
    due = await tasks.trigger("echo")
    await tasks.trigger("echo", delay=60)
    await tasks.finish_telling()
    async with Redis.from_url(redis_url) as redis:
        assert await redis.zrange(queue_key("quick"), 0, -1) == [f"{due.id}:0".encode()]


async def test_triggers_that_arrive_together_are_all_stored(tasks: TaskService) -> None:
    runs = await asyncio.gather(*(tasks.trigger("echo", input={"text": str(n)}) for n in range(300)))
    assert await tasks.count() == 300
    stored = await tasks.find([run.id for run in runs])
    assert [stored[run.id].input["text"] for run in runs] == [str(n) for n in range(300)]


async def test_one_bad_item_of_many_refuses_none_of_the_others(tasks: TaskService) -> None:
    requests = [
        TriggerRequest(definition_id="echo", input={"text": "first"}),
        TriggerRequest(definition_id="echo", input={"count": 99}),
        TriggerRequest(definition_id="nobody-knows"),
        TriggerRequest(definition_id="echo", priority=5000),
        TriggerRequest(definition_id="echo", input={"text": "last"}),
    ]
    answers = await tasks.trigger_many(requests)
    kinds = [type(answer) for answer in answers]
    assert kinds == [Triggered, InvalidTaskInput, TaskDefinitionNotFound, InvalidArgument, Triggered]
    assert await tasks.count() == 2


async def test_many_are_stored_in_order_over_several_inserts(tasks: TaskService) -> None:
    requests = [TriggerRequest(definition_id="echo", input={"text": str(n)}) for n in range(4500)]
    answers = await tasks.trigger_many(requests)
    texts = [answer.run.input["text"] for answer in answers if isinstance(answer, Triggered)]
    assert texts == [str(n) for n in range(4500)]
    assert await tasks.count() == 4500


async def test_more_than_the_limit_at_once_is_refused(settings: Settings, registry: Registry) -> None:
    async with service(settings.model_copy(update={"max_bulk_items": 3}), registry) as tasks:
        with pytest.raises(InvalidArgument, match="at most 3 are allowed"):
            await tasks.trigger_many([TriggerRequest(definition_id="echo")] * 4)
        assert await tasks.count() == 0


async def test_a_server_without_the_code_takes_everything_from_the_published_definition(
    settings: Settings, tasks: TaskService
) -> None:
    await tasks.trigger("echo")
    async with service(settings, Registry()) as bare:
        run = await bare.trigger("echo", input={"text": "x"})
        assert (run.queue, run.priority, run.timeout_seconds, run.max_iterations) == ("quick", 5, 60.0, 500)
        with pytest.raises(InvalidTaskInput) as refusal:
            await bare.trigger("echo", input={"text": 7, "count": 0})
    assert {issue.path for issue in refusal.value.issues} == {("text",), ("count",)}


async def test_a_definition_is_published_again_only_when_it_changed(db: Any, tasks: TaskService) -> None:
    await publish(db, [definition("echo")])
    first = await tasks.definition("echo")
    await publish(db, [definition("echo")])
    assert (await tasks.definition("echo")).published_at == first.published_at
    await publish(db, [definition("echo", title="Another")])
    changed = await tasks.definition("echo")
    assert (changed.title, changed.published_at > first.published_at) == ("Another", True)


async def test_processes_that_publish_at_once_do_not_deadlock(db: Any, tasks: TaskService) -> None:
    ids = [f"def-{n}" for n in range(20)]
    titles = ("One", "Two", "Three", "Four")
    await asyncio.gather(*(publish(db, [definition(id, title=title) for id in ids]) for title in titles))
    assert len((await tasks.definitions()).items) == 20
