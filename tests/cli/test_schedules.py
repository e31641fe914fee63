"""``taskloom schedules``: what people see and do of schedules."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from app import TaskService, Timing
from app.registry import registry
from app.settings import Settings
from tests.cli.command import Command
from tests.service.scheduled import make_due, runs_of, saved_task, scheduler


async def test_schedules_are_listed_paused_resumed_triggered_and_deleted(
    taskloom: Command, tasks: TaskService, settings: Settings
) -> None:
    task_id = await saved_task(settings, "cli-add", '{"numbers": [1]}')
    id = str((await tasks.schedules.create(task_id, Timing(cron="@daily"), name="Nightly")).id)
    task = (await tasks.saved.get(task_id)).name
    row = (await taskloom("schedules", "list")).out.splitlines()[-1]
    assert row.startswith(f"{id}   {task}   Nightly ")
    at_110, at_80 = await asyncio.gather(*(taskloom("schedules", "list", COLUMNS=width) for width in ("110", "80")))
    assert at_110.out.splitlines()[0].split() == ["ID", "TASK", "TICKS", "STATUS", "NEXT"]
    assert at_80.out.splitlines()[0].split() == ["ID", "TICKS", "STATUS", "NEXT"]
    [paused] = (await taskloom.json("schedules", "pause", id, "-m", "A freeze"))["nodes"]
    assert (paused["status"], paused["pauseMessage"], paused["nextRunAt"]) == ("PAUSED", "A freeze", None)
    assert (await taskloom.json("schedules", "resume", id))["nodes"][0]["status"] == "ACTIVE"
    run = await tasks.get((await taskloom("schedules", "trigger", id)).out.strip())
    assert str(run.schedule_id) == id
    assert (await taskloom("schedules", "delete", id)).sentence == "Deleted. Its runs stay."
    gone = await taskloom("schedules", "pause", id)
    assert (gone.code, "There is no schedule" in gone.sentence) == (2, True)


async def test_a_schedule_is_created_as_its_options_say_or_refused_with_what_is_allowed(
    taskloom: Command, tasks: TaskService, settings: Settings
) -> None:
    task = str(await saved_task(settings, "cli-add", '{"numbers": [1]}'))
    # Which publishes the definition, whose code the command does not load here.
    await tasks.trigger("cli-add", input={"numbers": [1]})
    options = ("--cron", "*/5 * * * *", "-z", "Asia/Kathmandu", "--overlap", "buffer_one", "--jitter", "30s")
    [made] = (await taskloom.json("schedules", "create", task, *options, "-i", '{"numbers": [2]}'))["nodes"]
    schedule = await tasks.schedules.get(made["id"])
    assert (schedule.cron, schedule.time_zone, schedule.overlap) == ("*/5 * * * *", "Asia/Kathmandu", "BUFFER_ONE")
    assert (schedule.jitter_seconds, schedule.input) == (30.0, {"numbers": [2]})
    [hourly] = (await taskloom.json("schedules", "create", task, "--every", "1h", "--name", "Hourly"))["nodes"]
    assert (hourly["ticks"], hourly["name"]) == ("every 3600 s", "Hourly")
    for wrong in ((), ("--cron", "61 * * * *"), ("--cron", "@daily", "--every", "1h"), ("--every", "soon")):
        assert (await taskloom("schedules", "create", task, *wrong)).code == 2
    assert len((await tasks.schedules.list()).items) == 2
    first = await taskloom("schedules", "list", "--limit", "1")
    assert "There are more: --after " in first.err
    end = (await taskloom.json("schedules", "list", "--limit", "1"))["pageInfo"]["endCursor"]
    assert first.err.split()[-1] == end
    rest = await taskloom("schedules", "list", "--after", end)
    assert (made["id"] in rest.out, hourly["id"] in rest.out, "more" in rest.err) == (True, False, False)


async def test_the_ticks_of_a_schedule_are_told_with_their_run_or_why_there_is_none(
    taskloom: Command, tasks: TaskService, settings: Settings
) -> None:
    task_id = await saved_task(settings, "cli-add", '{"numbers": [1]}')
    schedule = await tasks.schedules.create(task_id, Timing(cron="* * * * *"))
    assert "It has not ticked yet" in (await taskloom("schedules", "ticks", str(schedule.id))).err
    await make_due(settings, schedule, timedelta(minutes=5))
    async with scheduler(settings, registry) as ticking:
        while await ticking.run_once():
            pass
    [run] = await runs_of(settings, schedule)
    [ran, missed] = (await taskloom("schedules", "ticks", str(schedule.id))).out.splitlines()[2:]
    assert ("RAN" in ran, str(run.id) in ran) == (True, True)
    first = await taskloom.json("schedules", "ticks", str(schedule.id), "--limit", "1")
    assert (first["nodes"][0]["outcome"], first["nodes"][0]["run"]) == ("RAN", {"id": str(run.id)})
    rest = await taskloom.json("schedules", "ticks", str(schedule.id), "--after", first["pageInfo"]["endCursor"])
    [told] = rest["nodes"]
    assert (told["reason"], told["run"], told["message"] in missed) == ("CAUGHT_UP", None, True)
    assert f"MISSED ({told['ticks']} ticks)" in missed


async def test_a_cron_expression_is_previewed_by_the_clock_of_its_zone_or_refused(
    taskloom: Command, tasks: TaskService
) -> None:
    shown = await taskloom("schedules", "preview", "30 2 * * *", "--time-zone", "Asia/Kathmandu", "--count", "2")
    assert [line[10:] for line in shown.out.splitlines()] == ["T02:30:00+05:45"] * 2
    refused = await taskloom("schedules", "preview", "61 * * * *")
    assert (refused.code, "The minute of" in refused.sentence) == (2, True)
