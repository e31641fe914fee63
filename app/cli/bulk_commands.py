"""``taskloom bulk``: actions on many runs or saved tasks, followed to their end, and a look at those there were."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import arguments
from app.cli.asking import Code, asked
from app.cli.outcomes import ExitCode, Refusal, in_words_of_the_command
from app.cli.pages import After, Limit, say_more
from app.cli.run_commands import From
from app.cli.selections import runs_chosen, tasks_chosen
from app.cli.terminal import complain, err, note, out, print_json
from app.cli.triggering import Input, Json
from app.counting import counted

if TYPE_CHECKING:
    from app.models import BulkAction
    from app.service import TaskService

commands = typer.Typer(help="Act on many runs or saved tasks at once.", no_args_is_help=True)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether it is meant.")]
Detach = Annotated[bool, typer.Option("--detach", help="Leave what takes longer than a second to a worker.")]
Message = Annotated[str | None, typer.Option("--message", "-m", help="Why, for whoever looks at the runs later.")]
Force = Annotated[bool, typer.Option("--force", help="End them without waiting for their next checkpoint.")]
ActionId = Annotated[str, typer.Argument(metavar="ID", help="The id of the bulk action.")]
SHOWN_ERRORS = 20

Start = Callable[["TaskService"], Awaitable["BulkAction"]]


# On runs.


@commands.command()
@runs_chosen
def abort(
    runs: Any,
    message: Message = None,
    cascade: Annotated[bool, typer.Option(help="Abort their children, and theirs, as well.")] = True,
    force: Force = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Abort runs that are not final."""
    how: dict[str, Any] = {"message": message, "cascade": cascade, "force": force}
    start: Start = lambda tasks: tasks.bulk.abort_runs(runs, **how)  # noqa: E731
    _act("ABORT_RUNS", "Abort", runs, start, dry_run=dry_run, yes=yes, detach=detach, json=json)


@commands.command()
@runs_chosen
def rerun(
    runs: Any,
    from_: Annotated[From, typer.Option("--from", help="Where the new runs begin.")] = From.START,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Run runs again, each once: new runs that name the old ones."""
    from app.service import RerunFrom

    begin = RerunFrom.START if from_ is From.START else RerunFrom.LAST_STATE
    start: Start = lambda tasks: tasks.bulk.rerun_runs(runs, from_=begin, allow_private=False)  # noqa: E731
    _act("RERUN_RUNS", "Rerun", runs, start, dry_run=dry_run, yes=yes, detach=detach, json=json)


@commands.command("delete-runs")
@runs_chosen
def delete_runs(
    runs: Any, dry_run: DryRun = False, yes: Yes = False, detach: Detach = False, json: Json = False
) -> None:
    """Delete final runs with their logs; pinned ones stay."""
    start: Start = lambda tasks: tasks.bulk.delete_runs(runs)  # noqa: E731
    _act("DELETE_RUNS", "Delete", runs, start, dry_run=dry_run, yes=yes, detach=detach, json=json)


@commands.command("stop-all")
def stop_all(
    message: Message = None,
    force: Force = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Abort every run that is not final, and end all other bulk actions; tasks and schedules stay."""
    from app.service.bulk.actions import EVERYTHING, STOP_ALL

    start: Start = lambda tasks: tasks.bulk.stop_all(confirm=STOP_ALL, message=message, force=force)  # noqa: E731
    _act("STOP_ALL", "Abort", EVERYTHING, start, dry_run=dry_run, yes=yes, detach=detach, json=json)


@commands.command()
@runs_chosen
def clear(runs: Any, dry_run: DryRun = False, yes: Yes = False, detach: Detach = False, json: Json = False) -> None:
    """Delete the final runs that fit, with their logs, or --all of them; live runs stay."""
    from app.service.bulk.actions import CLEAR_EXECUTIONS

    if runs.filter is None:
        raise Refusal("clear takes no ids. `taskloom bulk delete-runs` does.")
    start: Start = lambda tasks: tasks.bulk.clear_executions(confirm=CLEAR_EXECUTIONS, filter=runs.filter)  # noqa: E731
    _act("CLEAR_EXECUTIONS", "Delete", runs, start, dry_run=dry_run, yes=yes, detach=detach, json=json)


# On saved tasks.


@commands.command()
@tasks_chosen
def execute(
    tasks: Any,
    input: Input = None,
    run_tag: Annotated[
        list[str] | None, typer.Option(help="A word that each run gets besides its task's, once for each.")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Instead of the tasks'; -1000 to 1000.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also those that are disabled, or meant for schedules alone.")
    ] = False,
    batch_name: Annotated[str | None, typer.Option(help="What people call the batch of the runs.")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Execute saved tasks as one batch; an input is merged into each task's own."""
    from app.service import UNSET
    from app.service.batches import BatchOptions

    value = UNSET if input is None else arguments.json_value(input)
    how: dict[str, Any] = {"input": value, "tags": run_tag or (), "priority": priority, "force": force}
    batch = BatchOptions(name=batch_name)
    start: Start = lambda service: service.batches.execute(tasks, batch, **how)  # noqa: E731
    _act("EXECUTE_TASKS", "Execute", tasks, start, dry_run=dry_run, yes=yes, detach=detach, json=json)


@commands.command()
@tasks_chosen
def update(
    tasks: Any,
    add_tag: Annotated[list[str] | None, typer.Option(help="A word that each gets, once for each.")] = None,
    remove_tag: Annotated[list[str] | None, typer.Option(help="A word that each loses, once for each.")] = None,
    to_owner: Annotated[str | None, typer.Option(help="Whose they are from now on, as in USER:ada.")] = None,
    enable: Annotated[bool | None, typer.Option("--enable/--disable", help="Whether they are executed.")] = None,
    priority: Annotated[int | None, typer.Option(help="The priority of their runs, -1000 to 1000.")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Change saved tasks, each by a revision of its own."""
    from app.service import UNSET
    from app.service.bulk import TaskBulkChanges

    changes = TaskBulkChanges(
        add_tags=add_tag or (),
        remove_tags=remove_tag or (),
        owner=UNSET if to_owner is None else to_owner,
        is_enabled=UNSET if enable is None else enable,
        priority=UNSET if priority is None else priority,
    )
    changes.stored()
    start: Start = lambda service: service.bulk.update_tasks(tasks, changes)  # noqa: E731
    _act("UPDATE_TASKS", "Change", tasks, start, dry_run=dry_run, yes=yes, detach=detach, json=json)


@commands.command()
@tasks_chosen
def move(
    tasks: Any,
    to: Annotated[str | None, typer.Option(help="The group that they belong to from now on.")] = None,
    out_of_groups: Annotated[bool, typer.Option("--out-of-groups", help="Let them belong to no group.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    detach: Detach = False,
    json: Json = False,
) -> None:
    """Move saved tasks into a group; one whose name is taken there stays, and is told."""
    if (to is None) is not out_of_groups:
        raise Refusal("Say where they go: --to GROUP, or --out-of-groups.")
    start: Start = lambda service: service.bulk.move_tasks(tasks, to)  # noqa: E731
    _act("UPDATE_TASKS", "Move", tasks, start, dry_run=dry_run, yes=yes, detach=detach, json=json)


# What there was.


@commands.command("list")
def list_actions(limit: Limit = 20, after: After = None, json: Json = False) -> None:
    """List bulk actions, the newest first."""
    from app.paging import PageArgs

    page = asked(lambda tasks: tasks.bulk.list(PageArgs(first=limit, after=after)))
    if json:
        from app.cli.documents import page_document

        return print_json(page_document(page, _document))
    if not page.items:
        return note("There are no bulk actions.")
    from app.cli.listings import fitted, plain_table
    from app.cli.words import ago

    table = plain_table("ID", "KIND", "STATUS", "TOTAL", "DONE", "FAILED", "CREATED")
    for row in page.items:
        counts = ("" if row.total is None else f"{row.total:,}", f"{row.done:,}", f"{row.failed:,}")
        table.add_row(str(row.id), row.kind, row.status, *counts, ago(row.created_at))
    out.print(fitted(table, out.width, 110, "TOTAL", "CREATED"))
    return say_more(page)


@commands.command()
def show(id: ActionId, json: Json = False) -> None:
    """Show a bulk action, with the first of the items that it could not act on."""
    raise typer.Exit(asked(lambda tasks: _tell_end(tasks, id, json=json)))


@commands.command("abort-action")
def abort_action(id: ActionId, json: Json = False) -> None:
    """End a bulk action where it is; what it has done stays done."""
    action = asked(lambda tasks: tasks.bulk.abort(id))
    if json:
        print_json(_document(action))
    else:
        out.print(_sentence(action), soft_wrap=True)


def _act(
    kind: str, verb: str, selection: Any, start: Start, *, dry_run: bool, yes: bool, detach: bool, json: bool
) -> None:
    """Say what is to be done, ask whether that is meant, do it, and end with 1 unless all of it was done."""

    async def act(tasks: TaskService) -> ExitCode:
        number, items = await _preview(tasks, kind, selection)
        if dry_run:
            return _tell_preview(kind, verb, number, items, json=json)
        if not yes:
            if not items:
                out.print(f"{number} are selected: nothing is done.")
                return ExitCode.OK
            _confirm(f"{verb} {number}?")
        action = await start(tasks)
        if not detach:
            await _follow(tasks, action)
        return await _tell_end(tasks, str(action.id), json=json)

    # Every action needs a definition that is shipped, and reruns and executions may ask a before_trigger.
    raise typer.Exit(asked(act, Code.ALL))


async def _preview(tasks: TaskService, kind: str, selection: Any) -> tuple[str, list[Any]]:
    """How many items there are, in words, and some of them."""
    from app.models import BulkActionKind
    from app.service.bulk import TaskSelection

    if isinstance(selection, TaskSelection):
        total, found = await tasks.bulk.preview_tasks(selection)
        return counted(total, "task"), list(found)
    preview = await tasks.bulk.preview(BulkActionKind(kind), selection)
    if preview.total is None:
        return f"more than {preview.exceeds:,} runs", list(preview.sample)
    return counted(preview.total, "run"), list(preview.sample)


def _tell_preview(kind: str, verb: str, number: str, items: list[Any], *, json: bool) -> ExitCode:
    from app.cli.listings import fitted, plain_table
    from app.cli.words import visible

    if json:
        sample = [{"id": str(item.id), "name": item.name} for item in items]
        print_json({"dryRun": True, "kind": kind, "items": number, "sample": sample})
        return ExitCode.OK
    if items:
        table = plain_table("ID", "NAME")
        for item in items:
            table.add_row(str(item.id), visible(item.name))
        out.print(fitted(table, out.width))
    out.print(f"Nothing is done. Without --dry-run: {verb.lower()} {number}.", soft_wrap=True)
    return ExitCode.OK


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise Refusal(f"{question} Pass --yes to say that this is meant.")
    typer.confirm(question, abort=True, err=True)


async def _follow(tasks: TaskService, action: BulkAction) -> None:
    """Take steps until the action ends, beside whoever else does; a bar is drawn where there is a terminal."""
    if action.finished_at is not None:
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        bar = progress.add_task(str(action.kind), total=action.total)
        try:
            while (now := await tasks.bulk.step(action.id)) is not None and now.finished_at is None:
                progress.update(bar, total=now.total, completed=now.done + now.failed)
        except asyncio.CancelledError:
            note(
                f"A worker goes on with it: `taskloom bulk show {action.id}`, `taskloom bulk abort-action {action.id}`."
            )
            raise


async def _tell_end(tasks: TaskService, id: str, *, json: bool) -> ExitCode:
    from app.cli.words import visible
    from app.paging import PageArgs

    action = await tasks.bulk.get(id)
    errors = (await tasks.bulk.errors(action.id, PageArgs(first=SHOWN_ERRORS))).items if action.failed else []
    if json:
        told = [{"itemId": str(one.item_id), "code": one.code, "message": one.message} for one in errors]
        print_json({**_document(action), "errors": {"nodes": told}})
    else:
        for one in errors:
            complain(visible(f"{one.item_id}: {in_words_of_the_command(one.message)}"))
        out.print(_sentence(action), soft_wrap=True)
    is_well = action.status in ("PENDING", "RUNNING", "COMPLETED") and not action.failed
    return ExitCode.OK if is_well else ExitCode.FAILED


def _sentence(action: BulkAction) -> str:
    failed = f", {action.failed:,} could not be acted on" if action.failed else ""
    return f"Bulk action {action.id} ({action.kind}) is {action.status}: {action.done:,} done{failed}."


def _document(action: BulkAction) -> dict[str, Any]:
    """An action as JSON, with the names that GraphQL has for its fields."""
    from app.cli.documents import time_text

    return {
        "id": str(action.id),
        "kind": action.kind,
        "status": action.status,
        "total": action.total,
        "done": action.done,
        "failed": action.failed,
        "batch": None if action.batch_id is None else {"id": str(action.batch_id)},
        "createdAt": time_text(action.created_at),
        "finishedAt": time_text(action.finished_at),
    }
