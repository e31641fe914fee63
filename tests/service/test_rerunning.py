"""Reruns: a new run like an earlier one, which itself never changes."""

from __future__ import annotations

import pytest

from app import RerunFrom, TaskRun, TaskRunStatus, TaskService, states
from app.db import Database
from app.errors import InvalidTaskInput, TaskRunNotFinal, TaskRunNotFound, TriggerRefused
from app.states import Reason, RunError
from tests.service.conftest import SUCCEED, Hand


async def stopped_in_the_second_iteration(tasks: TaskService, hand: Hand) -> TaskRun:
    """A run that failed in its second iteration, with a state saved."""
    parent = await tasks.trigger("no-input", delay=3600)
    run = await tasks.trigger(
        "echo", input={"text": "x"}, name="Name", tags=["a"], priority=3, timeout=9.0, max_attempts=2, parent=parent
    )
    [held] = await hand.claim()
    await held.write("first", state={"at": 1}, move=states.continue_(0))
    [held] = await hand.claim()
    await held.write("second", state={"at": 2})
    await held.write(move=states.fail(RunError("Error", "no"), Reason.ERROR))
    return await tasks.get(run.id)


async def test_a_rerun_from_the_start_is_a_new_run_with_what_the_earlier_one_was_triggered_with(
    tasks: TaskService, hand: Hand
) -> None:
    earlier = await stopped_in_the_second_iteration(tasks, hand)
    again = await tasks.get((await tasks.rerun(earlier.id)).id)
    same = ("input", "name", "tags", "priority", "timeout_seconds", "max_attempts", "queue", "parent_id")
    assert [getattr(again, name) for name in same] == [getattr(earlier, name) for name in same]
    assert (again.rerun_of, again.status, again.iteration, again.state) == (
        earlier.id, TaskRunStatus.QUEUED, 1, None,
    )  # fmt: skip
    assert (await tasks.get(earlier.id)).model_dump() == earlier.model_dump()


async def test_a_rerun_from_the_last_state_goes_on_where_the_earlier_run_stood(tasks: TaskService, hand: Hand) -> None:
    earlier = await stopped_in_the_second_iteration(tasks, hand)
    again = await tasks.get((await tasks.rerun(earlier.id, from_=RerunFrom.LAST_STATE)).id)
    assert (again.iteration, again.attempt, again.state) == (2, 1, {"at": 2})
    # Otherwise a run that failed for too many iterations would fail again at once.
    assert again.max_iterations == 501
    [held] = await hand.claim()
    assert (held.row["iteration"], held.row["state"]) == (2, '{"at": 2}')


@pytest.mark.parametrize("start", list(RerunFrom))
async def test_the_input_can_be_edited_and_is_validated(tasks: TaskService, hand: Hand, start: RerunFrom) -> None:
    earlier = await stopped_in_the_second_iteration(tasks, hand)
    assert (await tasks.rerun(earlier.id, input={"text": "y"}, from_=start)).input == {"text": "y"}
    assert (await tasks.rerun(earlier.id, input=None, from_=start)).input == {}
    with pytest.raises(InvalidTaskInput):
        await tasks.rerun(earlier.id, input={"count": 0}, from_=start)


async def test_only_a_final_run_goes_on_from_its_last_state(tasks: TaskService) -> None:
    live = await tasks.trigger("echo")
    with pytest.raises(TaskRunNotFinal, match="QUEUED"):
        await tasks.rerun(live.id, from_=RerunFrom.LAST_STATE)
    assert (await tasks.rerun(live.id)).rerun_of == live.id


async def test_a_rerun_does_not_inherit_keys_that_were_for_once(tasks: TaskService, hand: Hand) -> None:
    run = await tasks.trigger("echo", idempotency_key="k", unique_key="u")
    again = await tasks.rerun(run.id)
    assert (again.idempotency_key, again.unique_key, again.id != run.id) == (None, None, True)


async def test_before_trigger_is_asked_for_a_rerun_too(tasks: TaskService, hand: Hand) -> None:
    run = await tasks.trigger("guarded")
    with pytest.raises(TriggerRefused):
        await tasks.rerun(run.id, input={"text": "bad"})
    assert await tasks.count() == 1


async def test_an_unknown_run_cannot_be_rerun(tasks: TaskService) -> None:
    with pytest.raises(TaskRunNotFound):
        await tasks.rerun("0199c0de-0000-7000-8000-000000000000")


async def test_a_rerun_of_a_succeeded_run_keeps_its_output_out_of_the_new_one(tasks: TaskService, hand: Hand) -> None:
    run = await tasks.trigger("echo")
    [held] = await hand.claim()
    await held.write(move=SUCCEED)
    assert (await tasks.get(run.id)).output == "done"
    assert (await tasks.rerun(run.id, from_=RerunFrom.LAST_STATE)).output is None


async def test_a_run_whose_parent_was_purged_can_be_rerun(tasks: TaskService, db: Database) -> None:
    parent = await tasks.trigger("echo")
    child = await tasks.trigger("echo", parent=parent)
    async with db.autocommit() as pipe:
        await pipe.execute("DELETE FROM task_runs WHERE id = $1", parent.id)
    assert (await tasks.rerun(child.id)).parent_id is None


async def test_a_rerun_of_a_child_of_an_aborted_run_has_no_parent(tasks: TaskService) -> None:
    parent = await tasks.trigger("echo", delay=60)
    child = await tasks.trigger("echo", parent=parent)
    await tasks.abort(parent.id)
    again = await tasks.rerun(child.id)
    assert (again.parent_id, again.rerun_of) == (None, child.id)
