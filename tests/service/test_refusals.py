"""What a trigger is refused for: by name, with a sentence that says what is allowed, and nothing stored."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import cached_property
from inspect import getmembers, iscoroutinefunction
from itertools import product
from typing import Any, get_type_hints
from uuid import uuid4

import pytest
from pydantic import BaseModel, field_validator

from app import TaskService, TriggerRequest
from app.auth import Principal
from app.db import Database
from app.errors import (
    CodeNotLoaded,
    InvalidArgument,
    InvalidTaskInput,
    TaskDefinitionNotFound,
    TaskError,
    TaskRunNotFound,
    TriggerRefused,
)
from app.models import SavedSearchKind
from app.registry import Registry
from app.run_filters import RunFilter
from app.service import before_trigger, preparing
from app.service.areas import Areas
from app.service.bulk import RunSelection
from app.service.declared import JUDGED_LATER
from app.service.saved_reading import TaskQuestion
from app.service.scheduling import ScheduleChanges
from app.service.task_fields import TaskChanges, TaskFields
from app.settings import Settings
from app.ticks import Timing
from tests.service.conftest import EchoInput, definition, service
from tests.service.limited import execute

DEEP: Any = []
for _ in range(400):
    DEEP = [DEEP]

BAD_ARGUMENTS: list[tuple[dict[str, Any], str, str]] = [
    ({"delay": 5, "start_at": datetime.fromisoformat("2030-01-01T00:00:00Z")}, "delaySeconds", "not both"),
    ({"delay": -1}, "delaySeconds", "0 or more"),
    ({"delay": float("nan")}, "delaySeconds", "0 or more"),
    ({"delay": float("inf")}, "delaySeconds", "at most"),
    ({"delay": timedelta(days=4000)}, "delaySeconds", "3653 days"),
    ({"start_at": datetime(2030, 1, 1)}, "startAt", "timezone"),
    ({"start_at": datetime.fromisoformat("9999-12-31T23:59:59Z")}, "startAt", "10 years"),
    ({"start_at": datetime.fromisoformat("0001-01-01T00:00:00Z")}, "startAt", "10 years"),
    ({"priority": 1001}, "priority", "-1000 to 1000"),
    ({"priority": True}, "priority", "whole number"),
    ({"tags": [str(n) for n in range(51)]}, "tags", "at most 50"),
    ({"tags": ["x" * 101]}, "tags", "1 to 100"),
    ({"tags": [""]}, "tags", "1 to 100"),
    ({"tags": ["a", "a"]}, "tags", "twice"),
    ({"tags": "nightly"}, "tags", "list"),
    ({"tags": None}, "tags", "not NoneType"),
    ({"tags": 5}, "tags", "not int"),
    ({"delay": "5"}, "delaySeconds", "not str"),
    ({"timeout": "5"}, "timeoutSeconds", "not str"),
    ({"start_at": "2030-01-01T00:00:00Z"}, "startAt", "must be a datetime, not str"),
    ({"name": "x" * 201}, "name", "1 to 200"),
    ({"name": ""}, "name", "1 to 200"),
    ({"name": "a\0b"}, "name", "NUL"),
    ({"name": "\ud800"}, "name", "surrogate"),
    ({"queue": "Über"}, "queue", "lower-case"),
    ({"queue": "x" * 64}, "queue", "63"),
    ({"queue": "default\n"}, "queue", "lower-case"),
    ({"queue": 5}, "queue", "lower-case"),
    ({"timeout": 0}, "timeoutSeconds", "above 0"),
    ({"timeout": timedelta(days=400)}, "timeoutSeconds", "366 days"),
    ({"max_attempts": 0}, "maxAttempts", "1 to 1000"),
    ({"max_attempts": 1001}, "maxAttempts", "1 to 1000"),
    ({"ttl": 0}, "ttlSeconds", "above 0"),
    ({"ttl": float("nan")}, "ttlSeconds", "above 0"),
    ({"idempotency_key": ""}, "idempotencyKey", "1 to 255"),
    ({"unique_key": "x" * 256}, "uniqueKey", "1 to 255"),
    ({"input": {"text": "a\0b"}}, "input", "NUL"),
    ({"input": {"a\0b": 1}}, "input", "NUL"),
    ({"input": {"count": float("nan")}}, "input", "NaN"),
    ({"input": {"count": {1, 2}}}, "input", "not JSON"),
    ({"input": {"count": 2**70}}, "input", "64-bit"),
    ({"input": DEEP}, "input", "not JSON"),
    ({"input": {"text": "x" * 300_000}}, "input", "TASKLOOM_MAX_INPUT_BYTES"),
]


@pytest.mark.parametrize(("arguments", "field", "says"), BAD_ARGUMENTS, ids=lambda value: str(value)[:40])
async def test_an_argument_outside_of_what_is_allowed_is_refused_and_nothing_is_stored(
    tasks: TaskService, arguments: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(InvalidArgument, match=says) as refusal:
        await tasks.submit(TriggerRequest(definition_id="echo", **arguments))
    assert refusal.value.path == ("input", field)
    assert await tasks.count() == 0


@pytest.mark.parametrize("id", ["nobody-knows", "", "No Slug", "a\0b", "x" * 5000, 5, ["echo"]])
async def test_an_unknown_definition_is_refused(tasks: TaskService, id: Any) -> None:
    with pytest.raises(TaskDefinitionNotFound):
        await tasks.trigger(id)
    for look in (tasks.validate(id, {}), tasks.definition(id)):
        with pytest.raises(TaskDefinitionNotFound if isinstance(id, str) else InvalidArgument):
            await look


async def test_a_private_definition_is_unknown_to_clients_and_open_to_code(tasks: TaskService) -> None:
    with pytest.raises(TaskDefinitionNotFound):
        await tasks.submit(TriggerRequest(definition_id="hidden"), allow_private=False)
    assert await tasks.trigger("hidden")
    assert "hidden" not in [row.id for row in (await tasks.definitions()).items]


async def test_an_input_that_does_not_fit_says_where_and_never_quotes_it(tasks: TaskService) -> None:
    with pytest.raises(InvalidTaskInput) as refusal:
        await tasks.trigger("echo", input={"text": ["hunter2"], "count": 11})
    assert [issue.path for issue in refusal.value.issues] == [("text",), ("count",)]
    assert all(f"{where}: " in refusal.value.message for where in ("text", "count"))
    assert "hunter2" not in str(refusal.value.issues) + refusal.value.message


async def test_a_definition_without_input_takes_none(tasks: TaskService) -> None:
    assert (await tasks.trigger("no-input")).input == {}
    with pytest.raises(InvalidTaskInput):
        await tasks.trigger("no-input", input={"a": 1})


@pytest.mark.parametrize("parent", [uuid4(), "no uuid"], ids=["unknown", "no uuid"])
async def test_an_unknown_parent_is_refused(tasks: TaskService, parent: Any) -> None:
    with pytest.raises(TaskRunNotFound) as refusal:
        await tasks.trigger("echo", parent=parent)
    assert refusal.value.path == ("input", "parentId")
    assert await tasks.count() == 0


async def test_before_trigger_may_refuse_and_then_nothing_is_stored(tasks: TaskService) -> None:
    assert await tasks.trigger("guarded", input={"text": "good"})
    with pytest.raises(TriggerRefused, match="Not today"):
        await tasks.trigger("guarded", input={"text": "bad"})
    with pytest.raises(TriggerRefused, match="Local administrator may not"):
        await tasks.trigger("plainly-guarded")
    assert await tasks.count() == 1


async def test_plain_checks_that_hang_refuse_their_triggers_in_time_and_keep_nothing_waiting_but_their_like(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(before_trigger, "PLAIN_AT_ONCE", 2)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    go_on = threading.Event()
    registry.add(definition("hanging", before_trigger=lambda input, principal: go_on.wait()))
    hurried = settings.model_copy(update={"hook_seconds": 0.3})
    async with service(hurried, registry) as tasks, AsyncExitStack() as ending:
        ending.callback(go_on.set)
        with pytest.raises(TriggerRefused, match=r"took longer than 0\.3 s \(TASKLOOM_HOOK_SECONDS\)"):
            await tasks.trigger("hanging")
        for id in ("hanging", "plainly-guarded"):
            with pytest.raises(TriggerRefused, match="2 plain before_trigger functions are under way"):
                await tasks.trigger(id)
        assert await tasks.trigger("guarded")
        assert await asyncio.wait_for(asyncio.to_thread(lambda: True), 5)
        go_on.set()
        with pytest.raises(TriggerRefused, match="may not"):
            await tasks.trigger("plainly-guarded")


async def test_the_checks_of_many_triggers_are_made_side_by_side_each_with_its_whole_time_and_answered_in_order(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(before_trigger, "PLAIN_AT_ONCE", 2)
    monkeypatch.setattr(preparing, "ASKED_AT_ONCE", 2)
    both = threading.Barrier(2)

    def only_even(input: EchoInput, principal: Principal) -> None:
        both.wait(5)
        time.sleep(0.02)
        if int(input.text) % 2:
            raise TriggerRefused(input.text)

    registry.add(definition("only-even", before_trigger=only_even))
    texts = [str(n) for n in range(80)]
    requests = [TriggerRequest(definition_id="only-even", input={"text": text}) for text in texts]
    # All together take longer than one of them may.
    async with service(settings.model_copy(update={"hook_seconds": 0.6}), registry) as tasks:
        answers = await tasks.trigger_many(requests)
    told = [answer.message if isinstance(answer, TaskError) else answer.run.input["text"] for answer in answers]
    assert told == texts


async def test_a_check_that_gets_no_thread_refuses_its_trigger_and_takes_no_place_from_others(
    settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(before_trigger, "PLAIN_AT_ONCE", 1)

    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with service(settings.model_copy(update={"hook_seconds": 2}), registry) as tasks:
        with monkeypatch.context() as system:
            system.setattr(threading.Thread, "start", no_more)
            with pytest.raises(TriggerRefused, match="failed with RuntimeError"):
                await tasks.trigger("plainly-guarded")
        with pytest.raises(TriggerRefused, match="may not"):
            await tasks.trigger("plainly-guarded")


async def test_a_before_trigger_that_crashes_refuses_without_telling_its_secrets(
    tasks: TaskService, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(TriggerRefused) as refusal:
        await tasks.trigger("guarded", input={"text": "crash"})
    assert "RuntimeError" in refusal.value.message
    assert "secret" not in refusal.value.message
    assert "secret details" in caplog.text


class Fatal(BaseModel):
    text: str = ""

    @field_validator("text")
    @classmethod
    def give_up(cls, text: str) -> str:
        raise SystemExit("secret details")


async def test_a_validator_that_ends_the_process_refuses_its_input_instead(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry()
    registry.add(definition("fatal", input_type=Fatal))
    async with service(settings, registry) as tasks:
        with caplog.at_level(logging.ERROR), pytest.raises(InvalidTaskInput) as refusal:
            await tasks.trigger("fatal", input={"text": "x"})
        assert "failed with SystemExit" in refusal.value.message
        assert "secret" not in refusal.value.message
        assert "secret details" in caplog.text
        assert [issue.type for issue in await tasks.validate("fatal", {"text": "x"})] == ["validation_failed"]


def exhausted(input: EchoInput, principal: Principal) -> None:
    next(iter(()))


async def test_a_plain_check_that_raises_stop_iteration_keeps_nobody_waiting(settings: Settings) -> None:
    registry = Registry()
    registry.add(definition("exhausted", before_trigger=exhausted))
    async with service(settings, registry) as tasks, asyncio.timeout(5):
        with pytest.raises(TriggerRefused, match="failed with RuntimeError"):
            await tasks.trigger("exhausted")


async def test_a_server_without_the_code_of_a_check_refuses_and_names_the_module(
    settings: Settings, tasks: TaskService
) -> None:
    await tasks.trigger("guarded")
    async with service(settings, Registry()) as bare:
        with pytest.raises(CodeNotLoaded, match="TASKLOOM_TASKS"):
            await bare.trigger("guarded")
        with pytest.raises(InvalidTaskInput):
            await bare.trigger("guarded", input={"count": 0})


async def test_refusals_come_in_a_fixed_order(tasks: TaskService) -> None:
    async def refusal(**arguments: Any) -> type[TaskError]:
        with pytest.raises(TaskError) as raised:
            await tasks.submit(TriggerRequest(**arguments))
        return type(raised.value)

    unknown = uuid4()
    assert await refusal(definition_id="nobody", priority=9999) is InvalidArgument
    assert await refusal(definition_id="nobody", input={"count": 99}) is TaskDefinitionNotFound
    assert await refusal(definition_id="guarded", input={"count": 99}, parent_id=unknown) is InvalidTaskInput
    assert await refusal(definition_id="guarded", input={"text": "bad"}, parent_id=unknown) is TaskRunNotFound
    assert await refusal(definition_id="guarded", input={"text": "bad"}) is TriggerRefused


async def test_a_dry_run_says_what_is_wrong_and_stores_nothing(tasks: TaskService) -> None:
    assert await tasks.validate("echo", {"text": "x"}) == []
    [issue] = await tasks.validate("echo", {"count": 99})
    assert issue.path == ("count",)
    with pytest.raises(TaskDefinitionNotFound):
        await tasks.validate("hidden", {}, allow_private=False)
    assert await tasks.count() == 0


async def test_many_inputs_that_are_checked_at_once_let_others_in_between(tasks: TaskService) -> None:
    await tasks.validate("echo", {})
    checks = asyncio.gather(*(tasks.validate("echo", {}) for _ in range(50)))
    turns = 0
    while not checks.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 50


async def test_a_text_in_place_of_a_principal_is_refused_because_no_list_could_show_it(tasks: TaskService) -> None:
    run = await tasks.trigger("echo")
    nobody: Any = "ada"
    nothing: Any = {}
    for refused in (
        tasks.trigger("echo", principal=nobody),
        tasks.trigger("echo", principal=nothing),
        tasks.abort(run.id, principal=nobody),
        tasks.batches.trigger([TriggerRequest(definition_id="echo")], principal=nobody),
        tasks.bulk.abort_runs(RunSelection(ids=[run.id]), principal=nobody),
        tasks.saved.create(TaskFields(name="n", definition_id="echo"), principal=nobody),
        tasks.searches.create("n", SavedSearchKind.RUNS, {}, principal=nobody),
        tasks.retention.pin(run.id, principal=nobody),
    ):
        with pytest.raises(InvalidArgument, match="'principal' must be a Principal"):
            await refused
    with pytest.raises(InvalidArgument, match=r"'kind' must be a PrincipalKind \(USER, SERVICE, .*\), not str"):
        await tasks.trigger("echo", principal=Principal(nobody, "x"))
    assert not (await tasks.audit.list()).items
    assert [each.id for each in (await tasks.list()).items] == [run.id]


async def test_an_argument_of_a_wrong_kind_or_size_is_refused_by_its_name_and_leaves_nothing_behind(
    tasks: TaskService, db: Database
) -> None:
    run = await tasks.trigger("echo")
    await tasks.abort(run.id)
    task = await tasks.saved.create(TaskFields(name="n", definition_id="echo"))
    schedule = await tasks.schedules.create(task.id, Timing(cron="@daily"))
    wrong: dict[str, list[Callable[[Any], Awaitable[Any]]]] = {
        "requests": [lambda bad: tasks.trigger_many(bad), lambda bad: tasks.batches.trigger(bad)],
        "options": [lambda bad: tasks.batches.trigger([], bad)],
        "request": [lambda bad: tasks.submit(bad)],
        "after": [lambda bad: anext(tasks.logs(run.id, after=bad))],
        "levels": [lambda bad: anext(tasks.logs(run.id, levels=bad))],
        "from": [lambda bad: tasks.rerun(run.id, from_=bad)],
        "timeout": [lambda bad: tasks.wait(run.id, timeout=bad)],
        "filter": [
            lambda bad: tasks.list(bad),
            lambda bad: tasks.saved.count(TaskQuestion(filter=bad)),
            lambda bad: tasks.bulk.clear_executions(confirm="clear executions", filter=bad),
        ],
        "order": [lambda bad: tasks.list(order=bad)],
        "page": [lambda bad: tasks.list(page=bad), lambda bad: tasks.schedules.list(page=bad)],
        "limit": [lambda bad: tasks.count(limit=bad), lambda bad: tasks.purge(run.created_at, limit=bad)],
        "finished_before": [lambda bad: tasks.purge(bad)],
        "definition_ids": [lambda bad: tasks.purge(run.created_at, definition_ids=bad)],
        "run_ids": [lambda bad: tasks.find(bad), lambda bad: tasks.log_pages(bad)],
        "ids": [lambda bad: tasks.bulk.abort_runs(RunSelection(ids=bad)), lambda bad: tasks.saved.find(bad)],
        "and": [lambda bad: anext(tasks.watch_all(RunFilter(and_=bad)))],
        "by": [lambda bad: tasks.list_each(bad, [run.id])],
        "is_enabled": [lambda bad: tasks.saved.update(task.id, 1, TaskChanges(is_enabled=bad))],
        "at": [lambda bad: tasks.schedules.preview(Timing(at=bad))],
        "every": [lambda bad: tasks.schedules.update(schedule.id, 1, ScheduleChanges(timing={"every": bad}))],
        "retry": [lambda bad: tasks.submit(TriggerRequest(definition_id="echo", retry=bad))],
    }
    for name, calls in wrong.items():
        for call, bad in product(calls, ({"a": 1}, [5], "x", object())):
            with pytest.raises(InvalidArgument, match=f"'{name}'"):
                await call(bad)
    with pytest.raises(InvalidArgument, match="'after' is 1180591620717411303424, but must be"):
        await anext(tasks.logs(run.id, after=2**70))
    with pytest.raises(InvalidArgument, match="takes no such argument"):
        await tasks.saved.restore(task.id, 2**70)
    with pytest.raises(InvalidArgument, match="names evry, but a timing has only cron, every"):
        await tasks.schedules.update(schedule.id, 1, ScheduleChanges(timing={"evry": timedelta(hours=1)}))
    with pytest.raises(InvalidArgument, match="'after' must lie in the years"):
        await tasks.schedules.preview(Timing(cron="@daily"), after=datetime.max.replace(tzinfo=UTC))
    assert await tasks.count() == 1
    assert await execute(db, "SELECT id FROM batches") == []


async def test_every_argument_of_every_area_is_refused_by_its_name_where_it_is_of_another_kind(
    tasks: TaskService,
) -> None:
    areas = [getattr(tasks, name) for name, member in vars(Areas).items() if isinstance(member, cached_property)]
    tried = 0
    for area in areas:
        for _, method in getmembers(area, iscoroutinefunction):
            for name, kind in get_type_hints(method).items():
                if name == "return" or name == "input" or kind in JUDGED_LATER or method.__name__.startswith("_"):
                    continue
                with pytest.raises(InvalidArgument, match=f"'{name.rstrip('_')}' must be .*, not object"):
                    await method(**{name: object()})
                tried += 1
    assert tried > 100


@pytest.mark.parametrize("id", [None, 5, "seven"])
async def test_what_is_no_id_names_no_run(tasks: TaskService, id: Any) -> None:
    for refused in (tasks.get(id), tasks.abort(id), tasks.wait(id), tasks.rerun(id)):
        with pytest.raises(TaskRunNotFound):
            await refused


@pytest.mark.parametrize("id", [uuid4(), "seven"])
async def test_a_run_that_does_not_exist_has_no_log_and_no_iterations_to_show(tasks: TaskService, id: Any) -> None:
    for refused in (tasks.log_page(id), tasks.iteration_page(id)):
        with pytest.raises(TaskRunNotFound):
            await refused
