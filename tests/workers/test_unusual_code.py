"""Unusual code: its runs end as they should, and those of others are not hurt."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from app import TaskService, lifecycle
from app.errors import InvalidArgument
from app.registry import DefinitionError
from app.settings import Settings
from app.states import TaskRunStatus, TaskRunStatusReason
from tests.workbench import connected, lines, until, working
from tests.workers import unusual
from tests.workers.definitions import allowed, reached
from workers import TaskContext, json_values, task

assert unusual
SOON = timedelta(seconds=15)


async def test_an_error_whose_message_would_end_the_worker_fails_its_run_alone(
    settings: Settings, tasks: TaskService
) -> None:
    async with working(settings):
        run = await tasks.wait((await tasks.trigger("unusual-message")).id, timeout=SOON)
        after = await tasks.wait((await tasks.trigger("test-nothing")).id, timeout=SOON)
    assert run.status == TaskRunStatus.FAILED
    assert run.error
    assert run.error["message"] == "Exits, whose message cannot be read (SystemExit)"
    assert after.status == TaskRunStatus.SUCCEEDED


async def assert_is_aborted_where_it_waits(definition_id: str, tasks: TaskService) -> None:
    name = str(uuid4())
    run = await tasks.trigger(definition_id, input={"name": name})
    await reached[name].wait()
    await tasks.abort(run.id)
    run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.status_reason) == (TaskRunStatus.ABORTED, TaskRunStatusReason.ABORT_REQUESTED)


async def test_an_abort_that_takes_effect_inside_a_task_group_is_an_abort(
    settings: Settings, tasks: TaskService
) -> None:
    async with working(settings):
        await assert_is_aborted_where_it_waits("unusual-group", tasks)


async def test_a_run_that_is_given_back_inside_a_task_group_uses_up_no_attempt(
    settings: Settings, tasks: TaskService
) -> None:
    name = str(uuid4())
    async with working(settings, drain_seconds=5.0):
        run = await tasks.trigger("unusual-group", input={"name": name})
        await reached[name].wait()
    run = await tasks.get(run.id)
    assert (run.status, run.status_reason) == (TaskRunStatus.QUEUED, TaskRunStatusReason.SHUTDOWN)
    assert (run.attempt, run.interruptions) == (1, 1)


async def error_of(settings: Settings, tasks: TaskService, definition_id: str, name: str) -> str:
    """What the run of a definition fails with."""
    async with working(settings):
        run = await tasks.trigger(definition_id, input={"name": name})
        run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.status_reason) == (TaskRunStatus.FAILED, TaskRunStatusReason.ERROR)
    assert run.error
    return run.error["message"]


@pytest.mark.parametrize("reason", ["ABORT", "LOST", "SHUTDOWN"])
async def test_a_stop_that_nobody_asked_this_run_for_fails_it(
    settings: Settings, tasks: TaskService, reason: str
) -> None:
    assert "the context of another attempt" in await error_of(settings, tasks, "unusual-stop", reason)


@pytest.mark.parametrize(("name", "words"), [("RetryLater", "delay"), ("Continue", "timedelta")])
async def test_an_end_that_nothing_can_be_made_of_fails_the_run_at_once(
    settings: Settings, tasks: TaskService, name: str, words: str
) -> None:
    assert words in await error_of(settings, tasks, "unusual-end", name)


async def test_a_number_that_no_double_can_hold_is_refused_as_output_because_nobody_could_read_the_run(
    settings: Settings, tasks: TaskService
) -> None:
    async with working(settings):
        run = await tasks.wait((await tasks.trigger("unusual-number")).id, timeout=SOON)
    assert (run.status, run.status_reason) == (TaskRunStatus.FAILED, TaskRunStatusReason.INVALID_OUTPUT)
    assert run.error
    assert "a number that is too large" in run.error["message"]


async def test_a_hook_that_stops_where_the_log_is_full_leaves_its_run_to_its_end(
    settings: Settings, tasks: TaskService
) -> None:
    async with working(settings, max_log_lines=10):
        await assert_is_aborted_where_it_waits("unusual-hook", tasks)


async def test_what_was_returned_in_time_is_not_lost_to_a_hook_that_takes_its_own_time(
    settings: Settings, tasks: TaskService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "OVERRUN_MARGIN_SECONDS", 0.2)
    name = str(uuid4())
    async with working(settings, reap_seconds=0.1) as worker:
        run = await tasks.trigger("unusual-slow-hook", name=name)
        await reached[name].wait()
        await until_past_the_timeout(settings, run.id)
        assert await worker.engine.lifecycle.reap() == 0
        allowed[name].set()
        run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.output) == (TaskRunStatus.SUCCEEDED, "in time")


async def test_what_an_object_or_a_plain_function_gives_to_be_awaited_is_awaited(
    settings: Settings, tasks: TaskService
) -> None:
    async with working(settings):
        run = await tasks.wait((await tasks.trigger("unusual-object")).id, timeout=SOON)
    assert (run.status, run.output, run.state) == (TaskRunStatus.SUCCEEDED, "awaited", {"saved": True})
    assert await lines(tasks, run.id) == ["the hook was awaited"]


def plain_generator(ctx: TaskContext) -> Iterator[int]:
    yield 1


async def async_generator(ctx: TaskContext) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [plain_generator, async_generator])
def test_a_generator_is_refused_because_its_code_would_never_be_executed_as_a_task(
    function: Callable[..., object],
) -> None:
    with pytest.raises(DefinitionError, match="unusual-generator: a task function must not yield; return the output"):
        task(id="unusual-generator")(function)


@pytest.mark.parametrize("what", ["state", "output"])
async def test_what_nests_too_deeply_for_an_answer_that_shows_it_is_refused(
    settings: Settings, tasks: TaskService, what: str
) -> None:
    async with working(settings):
        run = await tasks.trigger("unusual-depth", input={"name": what})
        run = await tasks.wait(run.id, timeout=SOON)
    assert run.status == TaskRunStatus.FAILED
    assert run.error
    assert run.error["message"] == f"The {what} nests more than 200 levels of JSON. Make it flatter."


async def test_a_line_whose_data_nests_too_deeply_says_so_instead(settings: Settings, tasks: TaskService) -> None:
    async with working(settings):
        run = await tasks.trigger("unusual-depth", input={"name": "log"})
        run = await tasks.wait(run.id, timeout=SOON)
    assert run.status == TaskRunStatus.SUCCEEDED
    [line] = [line async for line in tasks.logs(run.id)]
    assert line.data == {"unreadable": "it nests more than 200 levels of JSON"}


async def test_an_input_that_nests_too_deeply_for_an_answer_is_refused(tasks: TaskService) -> None:
    value: Any = {}
    for _ in range(200):
        value = [value]
    with pytest.raises(InvalidArgument, match="The input nests more than 200 levels of JSON"):
        await tasks.trigger("unusual-depth", input=value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("progress", "current of the progress is 'half', but must be a number"),
        ("run", "wait_for() takes a list of runs or of their ids as UUIDs, but was given"),
        ("text", "wait_for() takes a list of runs or of their ids as UUIDs, but was given '"),
    ],
)
async def test_an_argument_of_the_wrong_kind_is_refused_with_what_is_allowed(
    settings: Settings, tasks: TaskService, name: str, words: str
) -> None:
    async with working(settings):
        run = await tasks.trigger("unusual-argument", input={"name": name})
        run = await tasks.wait(run.id, timeout=SOON)
    assert run.error
    assert words in run.error["message"]


def test_a_backslash_before_a_nul_character_stays_in_the_data_of_a_line() -> None:
    text = json_values.encode_data({"path": "C:\\\x00"}, 1000)
    assert orjson.loads(text or "") == {"path": "C:\\\u2400"}


async def until_past_the_timeout(settings: Settings, run_id: UUID) -> None:
    """Wait until the reaper would have ended the attempt by the timeout that it began with."""
    late = "SELECT now() > claimed_at + interval '1 second' FROM task_runs WHERE id = $1"
    async with connected(settings) as database:
        await until(lambda: database.fetchval(late, run_id))
