"""``taskloom runs``: list, show, tell, follow, abort, rerun and pin."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import arguments, run_options
from app.cli.asking import Code, asked
from app.cli.outcomes import ExitCode
from app.cli.pages import After, Limit, every, say_more
from app.cli.terminal import note, out, print_json
from app.cli.triggering import Follow, Input, Json, Wait
from app.cli.unserved import say_if_unserved
from app.states import TaskRunStatus

if TYPE_CHECKING:
    from app.models import TaskRun
    from app.service import TaskService

commands = typer.Typer(help="List, show, follow, abort, rerun and pin runs.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id.")]
SHOWN_ITERATIONS = 20


class Level(StrEnum):
    """A level of log lines, from the least to the gravest."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class From(StrEnum):
    """Where a rerun begins."""

    START = "start"
    LAST_STATE = "last-state"


@commands.command("list")
def list_runs(
    status: run_options.Status = None,
    definition: run_options.Definition = None,
    tag: run_options.Tag = None,
    task: run_options.Task = None,
    group: run_options.Group = None,
    owner: run_options.Owner = None,
    schedule: run_options.Schedule = None,
    batch: run_options.Batch = None,
    search: run_options.Search = None,
    error: Annotated[str | None, typer.Option(help="Only failures whose error holds this text.")] = None,
    error_group: Annotated[str | None, typer.Option(help="Only failures of the error group of this id.")] = None,
    slower: Annotated[
        str | None, typer.Option(help="Only finished runs that took this long or longer, as in 90s.")
    ] = None,
    quicker: Annotated[str | None, typer.Option(help="Only finished runs that took less than this.")] = None,
    limit: Limit = 20,
    after: After = None,
    json: Json = False,
) -> None:
    """List runs, the newest first."""
    from app.conditions import TagFilter
    from app.paging import PageArgs
    from app.run_filters import RunFilter

    filter = RunFilter(
        statuses=status or None,
        definition_ids=definition or None,
        tags=TagFilter(all=tag or None),
        task_ids=arguments.ids(task, "--task"),
        groups=group or None,
        owners=owner or None,
        schedule_ids=arguments.ids(schedule, "--schedule"),
        batch_ids=arguments.ids(batch, "--batch"),
        duration_ms=arguments.durations(slower, quicker),
        error_text=error,
        error_group=error_group,
        search=search,
    )
    page = asked(lambda tasks: tasks.list(filter, page=PageArgs(first=limit, after=after)))
    if json:
        from app.cli.documents import page_document, run_document

        print_json(page_document(page, run_document))
        return
    if page.items:
        from app.cli.listings import fitted, runs_table

        out.print(fitted(runs_table(page.items, out.width), out.width))
    else:
        note("No runs fit. `taskloom trigger DEFINITION` makes one.")
    say_more(page)


@commands.command()
def show(id: RunId, json: Json = False) -> None:
    """Show one run: where it stands and why, its input, output, error and iterations."""
    asked(lambda tasks: _show(tasks, id, json=json))


async def _show(tasks: TaskService, id: str, *, json: bool) -> None:
    from app.cli.documents import iteration_document, run_document
    from app.cli.listings import fitted
    from app.cli.run_details import iterations_table, run_panel
    from app.paging import PageArgs

    run = await tasks.get(id)
    if json:
        rows = await every(partial(tasks.iteration_page, id))
        iterations = {"nodes": [iteration_document(row) for row in rows]}
        print_json({**run_document(run), "iterations": iterations})
        return
    page = await tasks.iteration_page(id, PageArgs(last=SHOWN_ITERATIONS))
    await say_if_unserved(tasks, run)
    out.print(run_panel(run, out.width))
    if page.items:
        out.print(fitted(iterations_table(page.items), out.width))
        if page.has_previous:
            out.print("Earlier ones are in --json.", style="dim")


@commands.command()
def timeline(id: RunId, json: Json = False) -> None:
    """Tell what happened to a run: trigger, attempts, abort, end, and its reruns."""
    from app.cli.listings import fitted
    from app.cli.timelines import entry_document, timeline_table

    entries = asked(lambda tasks: tasks.timelines.of(id))
    if json:
        print_json({"timeline": [entry_document(entry) for entry in entries]})
    else:
        out.print(fitted(timeline_table(entries), out.width))


@commands.command()
def logs(
    id: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on live until the run is final.")] = False,
    after: Annotated[int, typer.Option(min=0, help="Begin behind the line of this number.")] = 0,
    level: Annotated[
        Level | None, typer.Option("--level", "-l", case_sensitive=False, help="Only lines of this level and above.")
    ] = None,
    json: Json = False,
) -> None:
    """Print the log of a run; with --json one document a line."""
    from app.cli.following import print_log
    from app.models import TaskLogLevel

    levels = list(TaskLogLevel)[list(Level).index(level) :] if level else None
    asked(lambda tasks: print_log(tasks, id, after=after, follow=follow, levels=levels, json=json))


@commands.command()
def abort(
    id: RunId,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Why; shown with the run.")] = None,
    no_cascade: Annotated[bool, typer.Option("--no-cascade", help="Let its children go on.")] = False,
    force: Annotated[bool, typer.Option("--force", help="End it now, without waiting for a checkpoint.")] = False,
    json: Json = False,
) -> None:
    """Abort a run: at once when no worker holds it, else at its next checkpoint."""
    run = asked(lambda tasks: tasks.abort(id, message=message, cascade=not no_cascade, force=force))
    if json:
        from app.cli.documents import run_document

        print_json(run_document(run))
    else:
        how = "; it stops at its next checkpoint" if run.status == TaskRunStatus.ABORTING else ""
        out.print(f"Run {run.id} is {run.status}{how}.", soft_wrap=True)


@commands.command()
def rerun(
    id: RunId,
    input: Input = None,
    from_: Annotated[
        From, typer.Option("--from", help="Begin at the start, or at the last state of a final run.")
    ] = From.START,
    wait: Wait = False,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Run again what an earlier run did, as a new run."""
    from app.cli.triggering import show_triggered
    from app.service import UNSET, RerunFrom

    value = UNSET if input is None else arguments.json_value(input)

    async def run_again(tasks: TaskService) -> ExitCode:
        run = await tasks.rerun(id, input=value, from_=RerunFrom[from_.name], allow_private=False)
        return await show_triggered(tasks, run, wait=wait, follow=follow, json=json)

    raise typer.Exit(asked(run_again, Code.OWN))


@commands.command()
def pin(id: RunId, json: Json = False) -> None:
    """Keep a run with its log: nothing removes it until it is unpinned."""
    _set_pin(id, pinned=True, json=json)


@commands.command()
def unpin(id: RunId, json: Json = False) -> None:
    """Let the rules of retention count for a run again."""
    _set_pin(id, pinned=False, json=json)


def _set_pin(id: str, *, pinned: bool, json: bool) -> None:
    from app.cli.documents import run_document

    async def set_pin(tasks: TaskService) -> TaskRun:
        retention = tasks.retention
        return await tasks.get(await (retention.pin(id) if pinned else retention.unpin(id)))

    run = asked(set_pin)
    if json:
        print_json(run_document(run))
    else:
        out.print(f"Run {run.id} is {'kept until it is unpinned' if pinned else 'not pinned'}.", soft_wrap=True)
