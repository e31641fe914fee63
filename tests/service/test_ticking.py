"""Each tick makes exactly one run, or one line that says why not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from prometheus_client import REGISTRY

from app import TaskService, due_schedules
from app.models import CatchUpPolicy, OverlapPolicy, PauseReason, Schedule, ScheduleStatus, TickOutcome, TickReason
from app.service.ticking import Ticking
from app.settings import Settings
from app.states import TaskRunStatus
from app.ticks import Timing
from tests.service.conftest import definition, definitions, service
from tests.service.lossy import lossy
from tests.service.scheduled import HOURLY, execute, finish, history, make_due, runs_of, saved_task, scheduler

SECONDLY = Timing(every=timedelta(seconds=1))
MINUTELY = Timing(every=timedelta(minutes=1))


@pytest.fixture
async def tasks(settings: Settings) -> AsyncIterator[TaskService]:
    async with service(settings, definitions()) as tasks:
        yield tasks


@pytest.fixture
async def ticking(settings: Settings) -> AsyncIterator[Ticking]:
    async with scheduler(settings, definitions()) as ticking:
        yield ticking


async def test_a_tick_makes_one_run_of_the_task_that_says_where_it_comes_from(
    settings: Settings, tasks: TaskService, ticking: Ticking
) -> None:
    task_id = await saved_task(settings)
    schedule = await tasks.schedules.create(task_id, SECONDLY, owner="SERVICE:ci")
    tick = await make_due(settings, schedule)
    assert await ticking.run_once()
    run, *_ = await runs_of(settings, schedule)
    assert (run.task_id, run.task_version, run.group_name, run.owner) == (task_id, 1, "pipeline", "USER:ada")
    assert (run.tick_at, run.on_behalf_of) == (tick, "SERVICE:ci")
    assert run.created_by == f"SCHEDULE:{schedule.id}"
    assert (run.status, run.input, run.tags) == (TaskRunStatus.QUEUED, {"text": "from the task"}, ["nightly"])
    [line, *_] = await history(tasks, schedule)
    assert (line.tick_at, line.outcome, line.run_id, line.ticks) == (tick, TickOutcome.RAN, run.id, 1)
    following = await tasks.schedules.get(schedule.id)
    assert following.next_tick_at is not None
    assert following.next_tick_at > tick


async def test_the_schedule_s_own_input_comes_before_the_task_s(
    settings: Settings, tasks: TaskService, ticking: Ticking
) -> None:
    schedule = await tasks.schedules.create(await saved_task(settings), HOURLY, input={"text": "own"})
    await make_due(settings, schedule)
    await ticking.run_once()
    assert [run.input for run in await runs_of(settings, schedule)] == [{"text": "own"}]


async def assert_lines_name_the_runs(settings: Settings, tasks: TaskService, schedule: Schedule) -> None:
    told = [(line.tick_at, line.run_id) for line in await history(tasks, schedule)]
    assert told == [(run.tick_at, run.id) for run in await runs_of(settings, schedule)]


async def test_ten_schedulers_at_once_make_one_run_of_each_tick(settings: Settings, tasks: TaskService) -> None:
    made = [await tasks.schedules.create(await saved_task(settings), HOURLY) for _ in range(5)]
    for schedule in made:
        await make_due(settings, schedule)
    async with scheduler(settings, definitions()) as first, scheduler(settings, definitions()) as second:
        await asyncio.gather(*(ticking.run_once() for ticking in (first, second) * 5))
    for schedule in made:
        assert len(await runs_of(settings, schedule)) == 1
        await assert_lines_name_the_runs(settings, tasks, schedule)


async def test_a_tick_that_was_decided_before_is_not_decided_again(
    settings: Settings, tasks: TaskService, ticking: Ticking
) -> None:
    schedule = await tasks.schedules.create(await saved_task(settings), HOURLY)
    for _ in range(3):
        await make_due(settings, schedule)
        await ticking.run_once()
    assert len(await runs_of(settings, schedule)) == 1
    await assert_lines_name_the_runs(settings, tasks, schedule)


@pytest.mark.parametrize("mark", ["COMMIT", "INSERT INTO schedule_ticks"])
async def test_a_tick_whose_reply_was_lost_makes_one_run_whether_it_was_committed_or_not(
    settings: Settings, tasks: TaskService, mark: str
) -> None:
    schedule = await tasks.schedules.create(await saved_task(settings), HOURLY)
    await make_due(settings, schedule)
    async with lossy(settings.database_url) as proxy:
        far = settings.model_copy(update={"database_url": proxy.url})
        async with scheduler(far, definitions()) as ticking:
            proxy.lose_reply_to(mark)
            await ticking.run_once()
            assert proxy.lost == 1
            await ticking.run_once()
    assert len(await runs_of(settings, schedule)) == 1
    await assert_lines_name_the_runs(settings, tasks, schedule)


# Overlap.


async def ticked_twice(
    settings: Settings, tasks: TaskService, ticking: Ticking, overlap: OverlapPolicy, ticks: int = 2
):
    """A schedule whose ticks came while the run of the first one was live."""
    schedule = await tasks.schedules.create(
        await saved_task(settings), MINUTELY, overlap=overlap, catch_up=CatchUpPolicy.ALL
    )
    await make_due(settings, schedule, timedelta(minutes=ticks - 1))
    while await ticking.run_once():
        pass
    return schedule


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        (OverlapPolicy.SKIP, [("RAN", None), ("SKIPPED", "OVERLAP"), ("SKIPPED", "OVERLAP")]),
        (OverlapPolicy.BUFFER_ONE, [("RAN", None), ("WAITING", None), ("SKIPPED", "BUFFER_FULL")]),
        (OverlapPolicy.BUFFER_ALL, [("RAN", None), ("WAITING", None), ("WAITING", None)]),
        (OverlapPolicy.ALLOW_ALL, [("RAN", None), ("RAN", None), ("RAN", None)]),
        (OverlapPolicy.ABORT_RUNNING, [("RAN", None), ("RAN", None), ("RAN", None)]),
    ],
)
async def test_a_tick_beside_a_live_run_does_as_the_overlap_policy_says(
    settings: Settings, tasks: TaskService, ticking: Ticking, overlap: OverlapPolicy, expected: list[tuple[str, str]]
) -> None:
    labels = {"definition": "echo", "status": "ABORTED"}
    counted = REGISTRY.get_sample_value("taskloom_runs_finished_total", labels) or 0
    schedule = await ticked_twice(settings, tasks, ticking, overlap, ticks=3)
    lines = await history(tasks, schedule)
    assert [(line.outcome, line.reason) for line in lines[:3]] == expected
    aborted = [run.status == TaskRunStatus.ABORTED for run in await runs_of(settings, schedule)]
    assert aborted == [overlap is OverlapPolicy.ABORT_RUNNING] * (len(aborted) - 1) + [False]
    assert (REGISTRY.get_sample_value("taskloom_runs_finished_total", labels) or 0) == counted + sum(aborted)


async def test_a_tick_whose_run_is_not_let_in_leaves_the_one_that_it_would_have_superseded(settings: Settings) -> None:
    registry = definitions()
    registry.add(definition("rarely", cooldown=3600.0))
    async with service(settings, registry) as tasks, scheduler(settings, registry) as ticking:
        task = await saved_task(settings, "rarely")
        schedule = await tasks.schedules.create(
            task, MINUTELY, overlap=OverlapPolicy.ABORT_RUNNING, catch_up=CatchUpPolicy.ALL
        )
        await make_due(settings, schedule, timedelta(minutes=1))
        while await ticking.run_once():
            pass
        lines = await history(tasks, schedule)
        assert [(line.outcome, line.reason) for line in lines] == [("RAN", None), ("SKIPPED", "REFUSED")]
        assert "cool" in (lines[1].message or "")
        assert [run.status for run in await runs_of(settings, schedule)] == [TaskRunStatus.QUEUED]


async def test_ticks_that_wait_run_one_after_the_other_in_order(
    settings: Settings, tasks: TaskService, ticking: Ticking
) -> None:
    schedule = await ticked_twice(settings, tasks, ticking, OverlapPolicy.BUFFER_ALL, ticks=3)
    for number in (1, 2, 3):
        runs = await runs_of(settings, schedule)
        assert len(runs) == number
        await finish(settings, runs[-1])
        await ticking.run_once()
    ticks = [run.tick_at for run in await runs_of(settings, schedule)][:3]
    assert ticks == [line.tick_at for line in await history(tasks, schedule)][:3]


async def test_pausing_gives_up_what_waits(settings: Settings, tasks: TaskService, ticking: Ticking) -> None:
    schedule = await ticked_twice(settings, tasks, ticking, OverlapPolicy.BUFFER_ONE)
    await tasks.schedules.pause(schedule.id)
    assert [line.reason for line in await history(tasks, schedule)][1] == TickReason.PAUSED
    for run in await runs_of(settings, schedule):
        await finish(settings, run)
    assert not await ticking.run_once()
    assert len(await runs_of(settings, schedule)) == 1


# Catching up.


@pytest.mark.parametrize(
    ("catch_up", "window", "expected"),
    [
        (CatchUpPolicy.NONE, 0, [("MISSED", "TOO_LATE", 4)]),
        (CatchUpPolicy.LAST, 86400, [("MISSED", "CAUGHT_UP", 3), ("RAN", None, 1)]),
        (CatchUpPolicy.ALL, 86400, [("RAN", None, 1)] * 4),
        (CatchUpPolicy.ALL, 6000, [("MISSED", "TOO_LATE", 2), ("RAN", None, 1), ("RAN", None, 1)]),
    ],
)
async def test_ticks_that_nobody_was_there_for_are_caught_up_as_the_policy_says(
    settings: Settings,
    tasks: TaskService,
    ticking: Ticking,
    catch_up: CatchUpPolicy,
    window: int,
    expected: list[object],
) -> None:
    now = (await execute(settings, "SELECT now()"))[0][0]
    timing = Timing(every=timedelta(hours=1), anchor=now - timedelta(minutes=30))
    schedule = await tasks.schedules.create(
        await saved_task(settings), timing, catch_up=catch_up, catch_up_window=window, overlap=OverlapPolicy.ALLOW_ALL
    )
    await make_due(settings, schedule, timedelta(hours=3))
    while await ticking.run_once():
        pass
    assert [(line.outcome, line.reason, line.ticks) for line in await history(tasks, schedule)] == expected


async def test_ticks_while_the_schedule_was_paused_are_not_caught_up(
    settings: Settings, tasks: TaskService, ticking: Ticking
) -> None:
    schedule = await tasks.schedules.create(await saved_task(settings), SECONDLY, catch_up=CatchUpPolicy.ALL)
    await tasks.schedules.pause(schedule.id)
    before = (await execute(settings, "SELECT now(), pg_sleep(1.2)"))[0][0]
    resumed = await tasks.schedules.resume(schedule.id)
    assert resumed.next_tick_at is not None
    assert resumed.next_tick_at > before + timedelta(seconds=1)


# What pauses or ends a schedule.


async def test_a_schedule_pauses_after_so_many_failures_in_a_row_and_starts_counting_anew_when_resumed(
    settings: Settings, tasks: TaskService, ticking: Ticking
) -> None:
    schedule = await tasks.schedules.create(
        await saved_task(settings), MINUTELY, max_failures=2, catch_up=CatchUpPolicy.ALL
    )
    await make_due(settings, schedule, timedelta(minutes=4))
    for status in ("FAILED", "SUCCEEDED", "LOST", "FAILED"):
        await ticking.run_once()
        await finish(settings, (await runs_of(settings, schedule))[-1], status)
    await ticking.run_once()
    assert len(await runs_of(settings, schedule)) == 4
    paused = await tasks.schedules.get(schedule.id)
    assert (paused.status, paused.pause_reason) == (ScheduleStatus.PAUSED, PauseReason.FAILURES)
    assert "last 2 runs failed" in str(paused.pause_message)
    assert [line.reason for line in await history(tasks, schedule)][-1] == TickReason.FAILURES
    await tasks.schedules.resume(schedule.id)
    await execute(settings, "UPDATE schedules SET next_tick_at = active_since, next_due_at = active_since")
    await ticking.run_once()
    assert len(await runs_of(settings, schedule)) == 5


async def test_a_schedule_whose_owner_may_not_act_any_more_pauses_and_says_why(
    settings: Settings, tasks: TaskService
) -> None:
    schedule = await tasks.schedules.create(await saved_task(settings), HOURLY, owner="USER:gone")
    await make_due(settings, schedule)

    def allowed(principal: str) -> str | None:
        return f"{principal} was removed." if principal == "USER:gone" else None

    async with scheduler(settings, definitions(), allowed) as ticking:
        await ticking.run_once()
    paused = await tasks.schedules.get(schedule.id)
    assert (paused.pause_reason, paused.pause_message) == (PauseReason.OWNER, "USER:gone was removed.")
    assert await runs_of(settings, schedule) == []
    assert [line.reason for line in await history(tasks, schedule)] == [TickReason.OWNER]


@pytest.mark.parametrize(
    ("change", "reason", "status"),
    [
        ("is_enabled = false", TickReason.TASK_DISABLED, ScheduleStatus.ACTIVE),
        ("deleted_at = now()", TickReason.TASK_DELETED, ScheduleStatus.PAUSED),
        ("definition_id = 'gone'", TickReason.REFUSED, ScheduleStatus.ACTIVE),
        ("input = '{\"count\": 99}'", TickReason.REFUSED, ScheduleStatus.ACTIVE),
        ("definition_id = 'plainly-guarded'", TickReason.REFUSED, ScheduleStatus.ACTIVE),
    ],
)
async def test_a_tick_whose_task_cannot_run_is_skipped_with_the_reason(
    settings: Settings, tasks: TaskService, ticking: Ticking, change: str, reason: TickReason, status: ScheduleStatus
) -> None:
    task_id = await saved_task(settings)
    schedule = await tasks.schedules.create(task_id, HOURLY)
    await make_due(settings, schedule)
    await execute(settings, f"UPDATE tasks SET {change} WHERE id = $1", task_id)
    await ticking.run_once()
    [line] = await history(tasks, schedule)
    assert (line.outcome, line.reason) == (TickOutcome.SKIPPED, reason)
    assert line.message
    assert (await tasks.schedules.get(schedule.id)).status == status
    assert await runs_of(settings, schedule) == []


async def test_a_schedule_without_another_tick_has_ended(
    settings: Settings, tasks: TaskService, ticking: Ticking
) -> None:
    now = (await execute(settings, "SELECT now()"))[0][0]
    schedule = await tasks.schedules.create(await saved_task(settings), Timing(at=now + timedelta(hours=1)))
    # Its moment has come, without a wait: a busy machine took longer than that to create it.
    come = "once_at = now(), next_tick_at = now(), next_due_at = now(), active_since = now()"
    await execute(settings, f"UPDATE schedules SET {come} WHERE id = $1", schedule.id)
    await ticking.run_once()
    ended = await tasks.schedules.get(schedule.id)
    assert (ended.status, ended.next_tick_at) == (ScheduleStatus.ENDED, None)
    assert len(await runs_of(settings, schedule)) == 1


async def test_one_schedule_that_cannot_be_worked_for_holds_up_no_other(
    settings: Settings, tasks: TaskService, ticking: Ticking
) -> None:
    broken, good = [await tasks.schedules.create(await saved_task(settings), HOURLY) for _ in range(2)]
    for schedule in (broken, good):
        await make_due(settings, schedule)
    await execute(settings, "UPDATE schedules SET time_zone = 'Nowhere/Land' WHERE id = $1", broken.id)
    assert await ticking.run_once()
    assert len(await runs_of(settings, good)) == 1


async def test_old_lines_about_ticks_are_deleted_and_waiting_ones_are_kept(
    settings: Settings, tasks: TaskService, ticking: Ticking
) -> None:
    schedule = await ticked_twice(settings, tasks, ticking, OverlapPolicy.BUFFER_ONE)
    await execute(settings, "UPDATE schedule_ticks SET decided_at = now() - interval '31 days'")
    async with tasks._db.autocommit() as pipe:
        assert not await due_schedules.purge_ticks(pipe)
    assert [line.outcome for line in await history(tasks, schedule)] == [TickOutcome.WAITING]


async def test_two_schedulers_catch_up_a_year_with_both_nights_of_the_change_of_time_one_run_a_night(
    settings: Settings, tasks: TaskService
) -> None:
    zone = ZoneInfo("Europe/Berlin")
    nightly = Timing(cron="30 2 * * *", time_zone="Europe/Berlin")
    schedule = await tasks.schedules.create(
        await saved_task(settings),
        nightly,
        overlap=OverlapPolicy.ALLOW_ALL,
        catch_up=CatchUpPolicy.ALL,
        catch_up_window=timedelta(days=366),
    )
    first = await make_due(settings, schedule, timedelta(days=362))
    async with scheduler(settings, definitions()) as one, scheduler(settings, definitions()) as two:
        while any(await asyncio.gather(one.run_once(), two.run_once())):
            pass
    runs = await runs_of(settings, schedule)
    nights = [run.tick_at.astimezone(zone).date() for run in runs if run.tick_at]
    assert sorted(nights) == [first.astimezone(zone).date() + timedelta(days=n) for n in range(len(runs))]
    assert len(runs) >= 362
    assert {line.outcome for line in await history(tasks, schedule)} == {TickOutcome.RAN}
