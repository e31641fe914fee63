"""What becomes of a run whose code returns, continues, fails or misbehaves."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app import TaskService
from app.models import TaskRun
from app.paging import PageArgs
from app.states import TaskIterationOutcome, TaskRunStatus, TaskRunStatusReason
from tests.workbench import lines
from tests.workers.definitions import calls
from workers.worker import TaskloomWorker

pytestmark = pytest.mark.usefixtures("worker")
SOON = timedelta(seconds=15)


async def finished(tasks: TaskService, definition_id: str, **options: object) -> TaskRun:
    """Trigger a run and wait for its end."""
    run = await tasks.trigger(definition_id, **options)  # type: ignore[arg-type]
    return await tasks.wait(run.id, timeout=SOON)


async def outcomes(tasks: TaskService, run: TaskRun) -> list[tuple[int, int, str]]:
    page = await tasks.iteration_page(run.id, PageArgs())
    return [(row.number, row.attempt, row.outcome) for row in page.items]


async def test_a_run_returns_its_output_and_its_log(tasks: TaskService) -> None:
    run = await finished(tasks, "test-double", input={"value": 21}, name="Answer")
    assert (run.status, run.output, run.name) == (TaskRunStatus.SUCCEEDED, {"value": 42}, "Answer")
    assert await lines(tasks, run.id) == ["doubling"]
    assert await outcomes(tasks, run) == [(1, 1, TaskIterationOutcome.SUCCEEDED)]
    assert run.started_at
    assert run.finished_at
    assert run.finished_at >= run.started_at


async def test_a_plain_function_runs_in_a_thread_with_the_same_context(tasks: TaskService) -> None:
    run = await finished(tasks, "test-double-plain", input={"value": 21})
    assert (run.status, run.output, run.state) == (TaskRunStatus.SUCCEEDED, {"value": 42}, {"half": 21})
    assert run.progress
    assert (run.progress["percent"], run.progress["message"]) == (50.0, "half way")
    assert await lines(tasks, run.id) == ["in thread", "state is saved"]


async def test_a_task_without_input_and_output_succeeds(tasks: TaskService) -> None:
    run = await finished(tasks, "test-nothing")
    assert (run.status, run.output) == (TaskRunStatus.SUCCEEDED, None)


async def test_a_run_continues_from_its_state_iteration_by_iteration(tasks: TaskService) -> None:
    run = await finished(tasks, "test-count", input={"value": 3})
    assert (run.status, run.output, run.iteration) == (TaskRunStatus.SUCCEEDED, {"value": 3}, 3)
    assert await lines(tasks, run.id) == ["at 1", "at 2", "at 3"]
    assert [row[2] for row in await outcomes(tasks, run)] == ["CONTINUED", "CONTINUED", "SUCCEEDED"]


async def test_a_run_that_continues_too_often_fails_after_its_hook(tasks: TaskService) -> None:
    calls["limit"].clear()
    run = await finished(tasks, "test-count-limit")
    assert (run.status, run.status_reason) == (TaskRunStatus.FAILED, TaskRunStatusReason.MAX_ITERATIONS)
    assert calls["limit"] == [2]


async def test_a_run_sleeps_between_iterations_without_holding_a_slot(tasks: TaskService) -> None:
    run = await finished(tasks, "test-later")
    assert run.status == TaskRunStatus.SUCCEEDED
    assert run.finished_at
    assert run.started_at
    assert run.finished_at - run.started_at >= timedelta(seconds=0.1)


async def test_an_iteration_can_see_that_its_timeout_is_near(tasks: TaskService) -> None:
    assert (await finished(tasks, "test-close-to-timeout")).output == "close"


async def test_a_failed_attempt_is_retried_and_the_hooks_hear_of_the_end_only(tasks: TaskService) -> None:
    run = await finished(tasks, "test-flaky", input={"value": 3}, name="flaky-ends-well")
    assert (run.status, run.output, run.attempt, run.error) == (TaskRunStatus.SUCCEEDED, 3, 3, None)
    assert [row[1:] for row in await outcomes(tasks, run)] == [(1, "RETRIED"), (2, "RETRIED"), (3, "SUCCEEDED")]
    assert calls["flaky-ends-well"] == [("done", 3)]


async def test_the_last_failed_attempt_ends_the_run_with_its_error(tasks: TaskService) -> None:
    run = await finished(tasks, "test-flaky", input={"value": 9}, name="flaky-ends-badly")
    assert (run.status, run.status_reason) == (TaskRunStatus.FAILED, TaskRunStatusReason.MAX_ATTEMPTS)
    assert run.error
    assert (run.error["type"], run.error["message"]) == ("ConnectionError", "attempt 3 failed")
    assert "in flaky" in run.error["traceback"]
    assert calls["flaky-ends-badly"] == [("error", "attempt 3 failed")]


async def test_a_run_may_have_fewer_attempts_than_its_definition(tasks: TaskService) -> None:
    run = await finished(tasks, "test-flaky", input={"value": 9}, max_attempts=1)
    assert (run.status, run.attempt) == (TaskRunStatus.FAILED, 1)


async def test_an_attempt_may_ask_to_be_tried_again_later(tasks: TaskService) -> None:
    run = await finished(tasks, "test-retry-later")
    assert (run.status, run.output) == (TaskRunStatus.SUCCEEDED, 2)


async def test_what_is_no_exception_fails_the_run_at_once_and_spares_the_worker(tasks: TaskService) -> None:
    run = await finished(tasks, "test-exit")
    assert (run.status, run.attempt) == (TaskRunStatus.FAILED, 1)
    assert (await finished(tasks, "test-nothing")).status == TaskRunStatus.SUCCEEDED


async def test_a_timeout_ends_the_attempt(tasks: TaskService) -> None:
    run = await finished(tasks, "test-timeout")
    assert (run.status, run.status_reason) == (TaskRunStatus.FAILED, TaskRunStatusReason.TIMEOUT)
    assert run.error
    assert run.error["message"] == "The attempt ran longer than its timeout of 0.1 seconds."


POISON = {
    "silent": ("FAILED", "Silent without a message"),
    "unreadable": ("FAILED", "Unreadable, whose message cannot be read (ValueError)"),
    "nul in output": ("FAILED", "NUL character"),
    "nul in state": ("FAILED", "NUL character"),
    "nul in error": ("FAILED", "a\u2400b"),
    "no json": ("FAILED", "The output is not JSON"),
    "huge output": ("FAILED", "at most 1,048,576 are stored"),
    "stop iteration": ("FAILED", "StopIteration"),
    "cancelled": ("FAILED", "CancelledError without a message"),
    "much log": ("FAILED", "bytes of log lines wait to be stored"),
    "nul in log": ("SUCCEEDED", None),
    "surrogate in log": ("SUCCEEDED", None),
    "huge line": ("SUCCEEDED", None),
}


@pytest.mark.parametrize("name", POISON)
async def test_poison_ends_the_run_with_a_clear_word_and_the_worker_goes_on(tasks: TaskService, name: str) -> None:
    status, message = POISON[name]
    run = await finished(tasks, "test-poison", input={"name": name})
    assert run.status == status
    if message is not None:
        assert run.error
        assert message in run.error["message"]
    assert (await finished(tasks, "test-nothing")).status == TaskRunStatus.SUCCEEDED


async def test_nul_characters_in_a_log_line_are_made_visible(tasks: TaskService) -> None:
    run = await finished(tasks, "test-poison", input={"name": "nul in log"})
    [line] = [line async for line in tasks.logs(run.id)]
    assert (line.message, line.data) == ("a\u2400b", {"data": "c\u2400d"})


async def test_a_huge_log_line_is_cut_and_says_so(tasks: TaskService) -> None:
    run = await finished(tasks, "test-poison", input={"name": "huge line"})
    [line] = [line async for line in tasks.logs(run.id)]
    assert line.message.endswith("… (cut; the whole has 10,000,000 bytes)")
    assert line.data == {"leftOut": "10,000,011 bytes of data; at most 16,384 are stored"}


async def test_input_that_no_longer_fits_fails_without_calling_the_code(
    tasks: TaskService, worker: TaskloomWorker
) -> None:
    run = await tasks.trigger("test-double", input={"value": 1}, delay=timedelta(days=1))
    async with worker.engine._connections.db.autocommit() as pipe:
        await pipe.execute("UPDATE task_runs SET input = '{}', due_at = now() WHERE id = $1", run.id)
    run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.status_reason) == (TaskRunStatus.FAILED, TaskRunStatusReason.INVALID_INPUT)


async def test_every_level_is_logged_and_the_standard_library_too(tasks: TaskService) -> None:
    run = await finished(tasks, "test-logging")
    logged = [(line.sequence, line.level, line.message) async for line in tasks.logs(run.id)]
    assert logged == [
        (1, "DEBUG", "debug"),
        (2, "WARNING", "warning"),
        (3, "ERROR", "error"),
        (4, "WARNING", "from a library"),
        (5, "INFO", "from a thread"),
    ]
    assert (run.log_debug, run.log_info, run.log_warning, run.log_error) == (1, 1, 2, 1)


async def test_a_parent_waits_for_its_children_without_a_slot_and_learns_their_results(tasks: TaskService) -> None:
    run = await finished(tasks, "test-parent", input={"value": 3})
    assert (run.status, run.output) == (TaskRunStatus.SUCCEEDED, [0, 2, 4])
    children = await tasks.children(run.id)
    assert {child.created_by for child in children} == {f"RUN:{run.id}"}


async def test_a_parent_in_a_thread_triggers_private_children(tasks: TaskService) -> None:
    run = await finished(tasks, "test-parent-plain")
    assert (run.status, run.output) == (TaskRunStatus.SUCCEEDED, 5)


async def test_a_hook_that_fails_is_logged_and_changes_nothing(tasks: TaskService) -> None:
    run = await finished(tasks, "test-broken-hook")
    assert (run.status, run.output) == (TaskRunStatus.SUCCEEDED, "fine")
    assert await lines(tasks, run.id) == ["on_done failed: RuntimeError: the hook is broken"]


async def test_a_delayed_run_starts_when_it_is_due(tasks: TaskService) -> None:
    run = await tasks.trigger("test-nothing", delay=timedelta(seconds=0.3))
    assert run.status == TaskRunStatus.SCHEDULED
    run = await tasks.wait(run.id, timeout=SOON)
    assert run.started_at
    assert run.started_at >= run.start_at


async def test_a_run_that_outlives_its_time_to_live_expires_instead_of_starting(tasks: TaskService) -> None:
    run = await tasks.trigger("test-nothing", queue="served-by-nobody", ttl=timedelta(seconds=0.1))
    run = await tasks.wait(run.id, timeout=SOON)
    assert (run.status, run.status_reason, run.started_at) == (TaskRunStatus.EXPIRED, TaskRunStatusReason.TTL, None)
