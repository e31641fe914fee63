"""``taskloom schedules``: create, list, pause, resume and run schedules, and see when they ticked or would tick."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from app.cli import arguments
from app.cli.asking import Code, asked
from app.cli.pages import After, Limit, say_more
from app.cli.terminal import note, out, print_json
from app.cli.triggering import Input, Json
from app.schedule_states import CatchUpPolicy, OverlapPolicy

if TYPE_CHECKING:
    from uuid import UUID

    from app.models import Schedule, ScheduleTick
    from app.paging import Page
    from app.service import TaskService

commands = typer.Typer(help="Create, show, pause, resume and run the schedules of saved tasks.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the schedule.")]
Names: TypeAlias = "dict[UUID, str]"


@commands.command()
def create(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The id of the saved task.")],
    cron: Annotated[str | None, typer.Option(help="Five fields, or an alias as in @daily.")] = None,
    every: Annotated[str | None, typer.Option(help="A fixed interval, as in 90s or 6h.")] = None,
    at: Annotated[str | None, typer.Option(help="A single time, as in 2026-03-01T09:00.")] = None,
    time_zone: Annotated[str, typer.Option("--time-zone", "-z", help="The IANA time zone of --cron.")] = "UTC",
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    input: Input = None,
    overlap: Annotated[
        OverlapPolicy, typer.Option(case_sensitive=False, help="What a tick does while an earlier run is live.")
    ] = OverlapPolicy.SKIP,
    catch_up: Annotated[
        CatchUpPolicy, typer.Option(case_sensitive=False, help="What becomes of ticks that no worker was there for.")
    ] = CatchUpPolicy.LAST,
    jitter: Annotated[str | None, typer.Option(help="Start each run up to this much later, as in 30s.")] = None,
    max_failures: Annotated[int | None, typer.Option(help="Pause after so many failures in a row.")] = None,
    json: Json = False,
) -> None:
    """Run a saved task by schedule: give one of --cron, --every and --at."""
    from app.ticks import Timing

    timing = Timing(
        cron=cron,
        every=arguments.duration(every, "--every"),
        at=arguments.moment(at, "--at"),
        time_zone=time_zone,
        jitter=arguments.duration(jitter, "--jitter") or timedelta(0),
    )
    value = None if input is None else arguments.json_value(input)

    async def save(tasks: TaskService) -> Schedule:
        return await tasks.schedules.create(
            task, timing, name=name, overlap=overlap, catch_up=catch_up, max_failures=max_failures, input=value
        )

    _show(save, Code.OWN, json=json)


@commands.command("list")
def list_schedules(limit: Limit = 20, after: After = None, json: Json = False) -> None:
    """List schedules, the newest first."""
    from app.cli.documents import page_document
    from app.paging import PageArgs

    async def read(tasks: TaskService) -> tuple[Page[Schedule], Names]:
        page = await tasks.schedules.list(page=PageArgs(first=limit, after=after))
        return page, {} if json else await _names(tasks, page.items)

    page, names = asked(read)
    if json:
        return print_json(page_document(page, _document))
    if not page.items:
        return note("There are no schedules.")
    _print(page.items, names)
    return say_more(page)


@commands.command()
def ticks(id: Id, limit: Limit = 20, after: After = None, json: Json = False) -> None:
    """Tell what became of a schedule's ticks, the latest first: its run, or why there is none."""
    from app.cli.documents import page_document
    from app.paging import PageArgs

    async def read(tasks: TaskService) -> Page[ScheduleTick]:
        schedule = await tasks.schedules.get(id)
        return (await tasks.schedules.tick_pages([schedule.id], PageArgs(first=limit, after=after)))[schedule.id]

    page = asked(read)
    if json:
        return print_json(page_document(page, _tick_document))
    if not page.items:
        return note("It has not ticked yet. `taskloom schedules list` says when it will.")
    _print_ticks(page.items)
    return say_more(page)


@commands.command()
def pause(
    id: Id, message: Annotated[str | None, typer.Option("--message", "-m", help="Why.")] = None, json: Json = False
) -> None:
    """Pause a schedule; ticks of that time are not caught up."""

    async def stop(tasks: TaskService) -> Schedule:
        return await tasks.schedules.pause(id, message=message)

    _show(stop, json=json)


@commands.command()
def resume(id: Id, json: Json = False) -> None:
    """Let a paused schedule go on with its first tick after now."""

    async def go_on(tasks: TaskService) -> Schedule:
        return await tasks.schedules.resume(id)

    _show(go_on, json=json)


@commands.command()
def delete(id: Id) -> None:
    """Delete a schedule; its runs stay."""
    asked(lambda tasks: tasks.schedules.delete(id))
    note("Deleted. Its runs stay.")


@commands.command()
def trigger(id: Id) -> None:
    """Run a schedule's task now, beside its ticks; prints the run's id."""
    run = asked(lambda tasks: tasks.schedules.trigger(id))
    print(run.id)


@commands.command()
def preview(
    cron: Annotated[
        str, typer.Argument(metavar="CRON", help="A cron expression of five fields, or an alias as in @daily.")
    ],
    time_zone: Annotated[str, typer.Option("--time-zone", "-z", help="The IANA time zone.")] = "UTC",
    count: Annotated[int, typer.Option(help="How many ticks.")] = 5,
) -> None:
    """Show when a cron expression would tick, by the clock of its time zone."""
    from zoneinfo import ZoneInfo

    from app.ticks import Timing

    timing = Timing(cron=cron, time_zone=time_zone)
    for tick in asked(lambda tasks: tasks.schedules.preview(timing, count)):
        print(tick.astimezone(ZoneInfo(time_zone)).isoformat())


def _show(question: Callable[[TaskService], Awaitable[Schedule]], code: Code = Code.NONE, *, json: bool) -> None:
    async def read(tasks: TaskService) -> tuple[Schedule, Names]:
        schedule = await question(tasks)
        return schedule, {} if json else await _names(tasks, [schedule])

    schedule, names = asked(read, code)
    if json:
        print_json({"nodes": [_document(schedule)]})
    else:
        _print([schedule], names)


async def _names(tasks: TaskService, schedules: list[Schedule]) -> Names:
    """What the tasks of the schedules are called."""
    found = await tasks.saved.find({schedule.task_id for schedule in schedules}, deleted=True)
    return {id: task.name for id, task in found.items()}


def _print(schedules: list[Schedule], names: Names) -> None:
    from app.cli.listings import fitted, plain_table
    from app.cli.words import local_time, visible

    table = plain_table("ID", "TASK", "NAME", "TICKS", "STATUS", "NEXT")
    for schedule in schedules:
        texts = (names.get(schedule.task_id, ""), schedule.name or "", _ticks(schedule))
        due = local_time(schedule.next_due_at) if schedule.next_due_at else ""
        table.add_row(str(schedule.id), *map(visible, texts), schedule.status, due)
    spare = ("NAME",) if out.width >= 110 else ("TASK", "NAME")
    out.print(fitted(table, out.width, 130, *spare))


def _print_ticks(ticks: list[ScheduleTick]) -> None:
    from app.cli.listings import fitted, plain_table
    from app.cli.words import local_time, visible

    table = plain_table("TICK", "OUTCOME", "RUN OR REASON")
    for tick in ticks:
        outcome = f"{tick.outcome} ({tick.ticks} ticks)" if tick.ticks > 1 else tick.outcome
        table.add_row(local_time(tick.tick_at), outcome, str(tick.run_id or visible(tick.message or tick.reason or "")))
    out.print(fitted(table, out.width))


def _tick_document(tick: ScheduleTick) -> dict[str, Any]:
    from app.cli.documents import time_text

    return {
        "tickAt": time_text(tick.tick_at),
        "lastTickAt": time_text(tick.last_tick_at),
        "ticks": tick.ticks,
        "outcome": str(tick.outcome),
        "reason": tick.reason,
        "message": tick.message,
        "decidedAt": time_text(tick.decided_at),
        "run": None if tick.run_id is None else {"id": str(tick.run_id)},
    }


def _ticks(schedule: Schedule) -> str:
    if schedule.cron is not None:
        return f"{schedule.cron} ({schedule.time_zone})"
    if schedule.every_seconds is not None:
        return f"every {schedule.every_seconds:.15g} s"
    return f"at {schedule.once_at:%Y-%m-%d %H:%M:%S%z}"


def _document(schedule: Schedule) -> dict[str, Any]:
    from app.cli.documents import time_text

    return {
        "id": str(schedule.id),
        "taskId": str(schedule.task_id),
        "name": schedule.name,
        "ticks": _ticks(schedule),
        "status": str(schedule.status),
        "pauseReason": schedule.pause_reason,
        "pauseMessage": schedule.pause_message,
        "nextRunAt": time_text(schedule.next_due_at),
        "version": schedule.version,
    }
