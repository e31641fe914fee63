"""Bulk actions on runs: by ids and by filters, each item once, and nothing that was not meant."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app import (
    ConfirmationRequired,
    DateTimeRange,
    InvalidArgument,
    RerunFrom,
    RunFilter,
    RunSelection,
    StringFilter,
    TagFilter,
    TaskRunStatus,
    TaskService,
    TriggerRequest,
)
from app.conditions import FloatRange
from app.models import BulkActionKind, BulkActionStatus, TaskRun
from app.service.bulk.starting import Starting
from tests.workbench import until_status
from workers.worker import TaskloomWorker

QUEUED = RunFilter(statuses=[TaskRunStatus.QUEUED])


async def some(tasks: TaskService, number: int, definition_id: str = "test-nothing", **more: object) -> list[TaskRun]:
    """Runs of a definition."""
    requests = [TriggerRequest(definition_id=definition_id, **more) for _ in range(number)]  # type: ignore[arg-type]
    return [answer.run for answer in await tasks.trigger_many(requests)]  # type: ignore[union-attr]


async def statuses(tasks: TaskService, runs: Sequence[TaskRun]) -> list[str]:
    found = await tasks.find([run.id for run in runs])
    return [found[run.id].status if run.id in found else "gone" for run in runs]


# Aborting.


async def test_runs_are_aborted_by_filter_without_any_worker_and_leave_no_run_behind(tasks: TaskService) -> None:
    mine, others = await some(tasks, 30, tags=["mine"]), await some(tasks, 3)
    selection = RunSelection(filter=RunFilter(tags=TagFilter(any=["mine"])))
    action = await tasks.bulk.abort_runs(selection, message="superseded")
    assert (action.status, action.total, action.done, action.failed) == (BulkActionStatus.COMPLETED, 30, 30, 0)
    assert await statuses(tasks, mine) == ["ABORTED"] * 30
    assert await statuses(tasks, others) == ["QUEUED"] * 3
    run = await tasks.get(mine[0].id)
    assert (run.abort_message, run.abort_requested_by) == ("superseded", "USER:local-admin")
    assert await tasks.count(RunFilter(definition_ids=["bulk-action"])) == 0


@pytest.mark.parametrize(
    "more",
    [
        {"task_ids": [uuid4()]},
        {"groups": ["g"], "owners": ["USER:ada"]},
        {"schedule_ids": [uuid4()]},
        {"batch_ids": [uuid4()]},
        {"duration_ms": FloatRange(gte=1.5)},
        {"search": "noth"},
        {"not_": RunFilter(search="nothing here")},
    ],
    ids=lambda more: "+".join(more),
)
async def test_a_filter_means_the_same_in_a_bulk_action_as_in_a_list(
    tasks: TaskService, more: dict[str, object]
) -> None:
    mine = await some(tasks, 3)
    filter = RunFilter(statuses=[TaskRunStatus.QUEUED], **more)  # type: ignore[arg-type]
    listed = {run.id for run in (await tasks.list(filter)).items}
    assert listed == ({run.id for run in mine} if {"search", "not_"} & more.keys() else set())
    assert (await tasks.bulk.preview(BulkActionKind.ABORT_RUNS, RunSelection(filter=filter))).total == len(listed)
    action = await tasks.bulk.abort_runs(RunSelection(filter=filter))
    assert (action.total, action.done) == (len(listed), len(listed))


async def test_each_item_that_was_named_and_cannot_be_aborted_is_an_error_of_its_own(tasks: TaskService) -> None:
    first, second = await some(tasks, 2)
    await tasks.abort(first.id)
    nobody = uuid4()
    action = await tasks.bulk.abort_runs(RunSelection(ids=[first.id, str(second.id), nobody, second.id]))
    assert (action.total, action.done, action.failed) == (3, 1, 2)
    errors = {error.item_id: error.code for error in (await tasks.bulk.errors(action.id)).items}
    assert errors == {first.id: "TASK_RUN_NOT_ABORTABLE", nobody: "TASK_RUN_NOT_FOUND"}


async def test_children_are_aborted_with_their_parents_unless_told_otherwise(tasks: TaskService) -> None:
    parents = await some(tasks, 2)
    children = [await tasks.trigger("test-nothing", parent=parent) for parent in parents]
    await tasks.bulk.abort_runs(RunSelection(ids=[parents[0].id]))
    await tasks.bulk.abort_runs(RunSelection(ids=[parents[1].id]), cascade=False)
    assert await statuses(tasks, children) == ["ABORTED", "QUEUED"]


async def test_runs_that_a_worker_holds_are_told_to_stop(tasks: TaskService, worker: TaskloomWorker) -> None:
    runs = [await tasks.trigger("test-checkpoints", input={"name": str(n)}) for n in range(3)]
    for run in runs:
        await until_status(tasks, run.id, TaskRunStatus.RUNNING)
    await tasks.bulk.abort_runs(RunSelection(filter=RunFilter(statuses=[TaskRunStatus.RUNNING])))
    for run in runs:
        await until_status(tasks, run.id, TaskRunStatus.ABORTED)


async def test_what_is_triggered_after_the_action_began_is_not_touched(
    tasks: TaskService, left_to_its_run: Starting
) -> None:
    before = await some(tasks, 2)
    action = await tasks.bulk.abort_runs(RunSelection(filter=QUEUED))
    await tasks.bulk.step(action.id)
    after = await some(tasks, 2)
    while (stepped := await tasks.bulk.step(action.id)) and stepped.finished_at is None:
        pass
    assert await statuses(tasks, before) == ["ABORTED"] * 2
    assert await statuses(tasks, after) == ["QUEUED"] * 2


async def test_two_who_take_the_same_steps_at_once_act_on_each_item_once(
    tasks: TaskService, left_to_its_run: Starting
) -> None:
    await some(tasks, 2500)
    action = await tasks.bulk.abort_runs(RunSelection(filter=QUEUED))

    async def all_steps() -> None:
        while (stepped := await tasks.bulk.step(action.id)) and stepped.finished_at is None:
            pass

    await asyncio.gather(all_steps(), all_steps(), all_steps())
    action = await tasks.bulk.get(action.id)
    assert (action.status, action.total, action.done) == (BulkActionStatus.COMPLETED, 2500, 2500)


async def test_two_actions_on_the_same_runs_share_them_and_both_end(tasks: TaskService) -> None:
    runs = await some(tasks, 300)
    both = await asyncio.gather(*(tasks.bulk.abort_runs(RunSelection(filter=QUEUED)) for _ in range(2)))
    assert [action.status for action in both] == [BulkActionStatus.COMPLETED] * 2
    assert sum(action.done for action in both) == 300
    assert set(await statuses(tasks, runs)) == {"ABORTED"}


# Filters that say nothing.

EMPTY = (
    RunFilter(),
    RunFilter(tags=TagFilter()),
    RunFilter(name=StringFilter(contains="", starts_with=""), input_contains={}),
    RunFilter(created_at=DateTimeRange()),
    RunFilter(and_=[RunFilter(), RunFilter(tags=TagFilter(none=[]))]),
    RunFilter(or_=[RunFilter(queues=["mail"]), RunFilter()]),
)
NOT_EMPTY = (
    RunFilter(queues=[]),
    RunFilter(or_=[]),
    RunFilter(or_=[RunFilter(queues=["mail"]), RunFilter(has_errors=True)]),
    RunFilter(and_=[RunFilter(), RunFilter(has_errors=False)]),
    RunFilter(not_=RunFilter()),
)


@pytest.mark.parametrize("filter", EMPTY, ids=str)
async def test_a_filter_that_every_run_fits_is_refused_unless_all_is_meant(
    tasks: TaskService, filter: RunFilter
) -> None:
    [run] = await some(tasks, 1)
    with pytest.raises(ConfirmationRequired, match="all: true"):
        await tasks.bulk.abort_runs(RunSelection(filter=filter))
    assert await tasks.bulk.count() == 0
    assert await statuses(tasks, [run]) == ["QUEUED"]
    assert (await tasks.bulk.abort_runs(RunSelection(filter=filter, all=True))).done == 1


@pytest.mark.parametrize("filter", NOT_EMPTY, ids=str)
async def test_a_filter_that_says_something_needs_no_confirmation(tasks: TaskService, filter: RunFilter) -> None:
    await some(tasks, 1)
    assert (await tasks.bulk.abort_runs(RunSelection(filter=filter))).status == BulkActionStatus.COMPLETED


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (RunSelection(), "one of the two"),
        (RunSelection(ids=[uuid4()], filter=QUEUED), "one of the two"),
        (RunSelection(ids=[]), "1 to 10000"),
        (RunSelection(ids=["seven"]), "'seven' is no id"),
        (RunSelection(ids=[uuid4() for _ in range(10_001)]), "10001 items"),
        (RunSelection(filter=RunFilter(created_at=DateTimeRange(gte=datetime(2026, 1, 1)))), "timezone"),
    ],
)
async def test_a_bad_selection_is_refused_and_leaves_nothing_behind(
    tasks: TaskService, selection: RunSelection, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await tasks.bulk.abort_runs(selection)
    with pytest.raises(InvalidArgument, match=message):
        await tasks.bulk.preview(BulkActionKind.ABORT_RUNS, selection)
    assert await tasks.bulk.count() == 0
    assert not (await tasks.audit.list()).items


async def test_a_selection_is_stored_as_it_was_meant(tasks: TaskService, left_to_its_run: Starting) -> None:
    wanted = RunFilter(
        statuses=[TaskRunStatus.QUEUED, TaskRunStatus.WAITING],
        parent_id=uuid4(),
        created_at=DateTimeRange(gte=datetime(2026, 1, 1, tzinfo=UTC)),
        input_contains={"a": [1, None]},
        or_=[RunFilter(tags=TagFilter(any=["x"])), RunFilter(not_=RunFilter(name=StringFilter(contains="y")))],
    )
    from app.service.bulk.selections import Chosen

    action = await tasks.bulk.abort_runs(RunSelection(filter=wanted))
    assert Chosen.read((await tasks.bulk.get(action.id)).selection).filter == wanted


# Previews.


async def test_a_preview_counts_and_shows_some_and_changes_nothing(tasks: TaskService) -> None:
    runs = await some(tasks, 12)
    await tasks.abort(runs[0].id)
    preview = await tasks.bulk.preview(BulkActionKind.ABORT_RUNS)
    assert (preview.total, preview.exceeds, len(preview.sample)) == (11, None, 10)
    assert preview.sample[0].id == runs[-1].id
    assert (await tasks.bulk.preview(BulkActionKind.DELETE_RUNS)).total == 1
    named = RunSelection(ids=[runs[0].id, runs[1].id])
    assert (await tasks.bulk.preview(BulkActionKind.ABORT_RUNS, named)).total == 1
    assert await tasks.bulk.count() == 0
    assert (await statuses(tasks, runs)).count("QUEUED") == 11


# Rerunning.


async def test_runs_are_triggered_again_once_however_often_a_step_is_repeated(
    tasks: TaskService, left_to_its_run: Starting
) -> None:
    runs = await some(tasks, 5, tags=["again"], priority=7)
    action = await tasks.bulk.rerun_runs(RunSelection(filter=RunFilter(tags=TagFilter(any=["again"]))))
    await tasks.bulk.step(action.id)
    # As after a crash between the triggers and the commit: the same items once more.
    work = tasks.bulk._works[BulkActionKind.RERUN_RUNS]
    action = await tasks.bulk.get(action.id)
    assert (await work.act(None, action, [run.id for run in runs])).done == 5  # type: ignore[arg-type]
    while (action := await tasks.bulk.step(action.id)).finished_at is None:  # type: ignore[union-attr, assignment]
        pass
    assert (action.done, action.failed) == (5, 0)
    again = [run for run in (await tasks.list()).items if run.rerun_of is not None]
    assert sorted(run.rerun_of for run in again) == sorted(run.id for run in runs)  # type: ignore[type-var]
    assert {(run.priority, tuple(run.tags)) for run in again} == {(7, ("again",))}


async def test_a_rerun_that_is_refused_is_an_error_of_its_item(tasks: TaskService) -> None:
    live, final = await some(tasks, 2)
    await tasks.abort(final.id)
    action = await tasks.bulk.rerun_runs(RunSelection(ids=[live.id, final.id]), from_=RerunFrom.LAST_STATE)
    assert (action.done, action.failed) == (1, 1)
    [error] = (await tasks.bulk.errors(action.id)).items
    assert (error.item_id, error.code) == (live.id, "TASK_RUN_NOT_FINAL")


# Deleting.


async def test_final_runs_are_deleted_with_their_logs_and_others_stay(
    tasks: TaskService, worker: TaskloomWorker
) -> None:
    done = [await tasks.trigger("test-double", input={"value": n}) for n in range(3)]
    for run in done:
        await tasks.wait(run.id, timeout=timedelta(seconds=20))
    held = await tasks.trigger("test-checkpoints", input={"name": "held"})
    await until_status(tasks, held.id, TaskRunStatus.RUNNING)
    action = await tasks.bulk.delete_runs(RunSelection(ids=[held.id, *(run.id for run in done)]))
    assert (action.done, action.failed) == (3, 1)
    assert await statuses(tasks, done) == ["gone"] * 3
    logs = await tasks.log_pages([run.id for run in done])
    assert not [line for page in logs.values() for line in page.items]
    [error] = (await tasks.bulk.errors(action.id)).items
    assert (error.item_id, error.code) == (held.id, "TASK_RUN_NOT_FINAL")


async def test_what_a_live_run_may_still_look_at_is_not_deleted(tasks: TaskService) -> None:
    parent = await tasks.trigger("test-nothing")
    child = await tasks.trigger("test-nothing", parent=parent)
    await tasks.abort(parent.id, cascade=False)
    action = await tasks.bulk.delete_runs(RunSelection(ids=[parent.id]))
    assert (action.done, action.failed) == (0, 1)
    assert await statuses(tasks, [parent, child]) == ["ABORTED", "QUEUED"]


async def test_an_action_is_left_to_its_run_while_others_have_all_turns(
    tasks: TaskService, left_to_its_run: Starting
) -> None:
    left_to_its_run.seconds_at_once = 0.01
    turns = tasks.bulk._stepper._turns
    async with asyncio.timeout(20), turns, turns:
        action = await tasks.bulk.abort_runs(RunSelection(filter=RunFilter(queues=["default"])))
    assert action.status is BulkActionStatus.PENDING


# The whole system.


async def test_stop_all_aborts_what_is_live_and_ends_other_bulk_actions(
    tasks: TaskService, left_to_its_run: Starting, worker: TaskloomWorker
) -> None:
    ahead = await some(tasks, 2, delay=timedelta(hours=1))
    held = await tasks.trigger("test-checkpoints", input={"name": "stopped"})
    await until_status(tasks, held.id, TaskRunStatus.RUNNING)
    other = await tasks.bulk.rerun_runs(RunSelection(filter=RunFilter(queues=["default"])))
    left_to_its_run.seconds_at_once = 5.0
    action = await tasks.bulk.stop_all(confirm="stop all tasks", message="Maintenance")
    assert (action.status, action.done) == (BulkActionStatus.COMPLETED, 3)
    assert await statuses(tasks, ahead) == ["ABORTED"] * 2
    assert (await until_status(tasks, held.id, TaskRunStatus.ABORTED)).abort_message == "Maintenance"
    other = await tasks.bulk.get(other.id)
    assert (other.status, other.aborted_by) == (BulkActionStatus.ABORTED, "USER:local-admin")
    assert await tasks.bulk.step(other.id) is not None
    assert not [run for run in (await tasks.list()).items if run.rerun_of]


async def test_two_that_stop_everything_do_not_stop_each_other(tasks: TaskService) -> None:
    runs = await some(tasks, 100)
    both = await asyncio.gather(*(tasks.bulk.stop_all(confirm="stop all tasks") for _ in range(2)))
    assert [action.status for action in both] == [BulkActionStatus.COMPLETED] * 2
    assert set(await statuses(tasks, runs)) == {"ABORTED"}


async def test_clearing_deletes_final_runs_only_all_or_those_of_a_filter(tasks: TaskService) -> None:
    live, first, second = await some(tasks, 1) + await some(tasks, 1, tags=["a"]) + await some(tasks, 1, tags=["b"])
    for run in (first, second):
        await tasks.abort(run.id)
    filter = RunFilter(tags=TagFilter(any=["a"]))
    assert (await tasks.bulk.clear_executions(confirm="clear executions", filter=filter)).done == 1
    assert await statuses(tasks, [live, first, second]) == ["QUEUED", "gone", "ABORTED"]
    assert (await tasks.bulk.clear_executions(confirm="clear executions")).done == 1
    assert await statuses(tasks, [live, first, second]) == ["QUEUED", "gone", "gone"]


async def test_the_whole_system_is_touched_only_when_somebody_says_so_in_words(tasks: TaskService) -> None:
    runs = await some(tasks, 1)
    with pytest.raises(ConfirmationRequired, match='confirm: "stop all tasks"'):
        await tasks.bulk.stop_all(confirm="yes")
    with pytest.raises(ConfirmationRequired, match='confirm: "clear executions"'):
        await tasks.bulk.clear_executions(confirm="stop all tasks")
    assert await statuses(tasks, runs) == ["QUEUED"]
    assert await tasks.bulk.count() == 0


# The audit.


async def test_who_began_and_who_aborted_is_written_down(tasks: TaskService, left_to_its_run: Starting) -> None:
    action = await tasks.bulk.abort_runs(RunSelection(filter=QUEUED), message="why")
    await tasks.bulk.abort(action.id)
    await tasks.bulk.stop_all(confirm="stop all tasks")
    events = (await tasks.audit.list()).items
    assert [event.action for event in events] == ["stopAllTasks", "abortBulkAction", "abortTasks"]
    assert {event.principal for event in events} == {"USER:local-admin"}
    assert [event.subject_id for event in events[1:]] == [str(action.id)] * 2
    assert events[2].details == {
        "selection": {"filter": {"statuses": ["QUEUED"]}},
        "arguments": {"message": "why", "cascade": True, "force": False},
    }
