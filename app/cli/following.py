"""Following a run: its log line by line, and its progress as a bar, until it is final."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from app.cli.documents import Document, duration_ms, log_document, run_document, time_text
from app.cli.outcomes import ExitCode
from app.cli.terminal import err, note, out, print_json
from app.cli.words import LEVEL_STYLES, exact, progress_words, status_text, visible

if TYPE_CHECKING:
    from app.models import TaskLog, TaskRun
    from app.service import TaskService

SUCCEEDED = "SUCCEEDED"


async def print_log(
    tasks: TaskService,
    run_id: UUID | str,
    *,
    follow: bool,
    json: bool,
    after: int = 0,
    levels: Sequence[Any] | None = None,
    mark: bool = False,
) -> None:
    """Print a run's log: lines for people, or JSON lines; ``mark`` names the type of each, as a mixed stream needs."""
    async with aclosing(tasks.logs(run_id, after=after, follow=follow, levels=levels)) as lines:
        async for line in lines:
            if json:
                print_json(_marked("TaskLog", log_document(line)) if mark else log_document(line), in_lines=True)
            else:
                print_line(line)


def print_line(line: TaskLog) -> None:
    """Print a line of a log: in a terminal with this machine's time and wrapped at words, else on one line."""
    if out.is_terminal:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(no_wrap=True, min_width=7)
        grid.add_column(overflow="fold")
        grid.add_row(line.created_at.astimezone().strftime("%H:%M:%S.%f")[:-3], _level(line), _said(line))
        out.print(grid)
    else:
        out.print(Text(" ").join([Text(time_text(line.created_at) or ""), _level(line), _said(line)]), soft_wrap=True)


def _level(line: TaskLog) -> Text:
    return Text(f"{line.level:<7}", style=LEVEL_STYLES[str(line.level)])


def _said(line: TaskLog) -> Text:
    text = Text(visible(line.message))
    data: Document = line.data or {}
    for key, value in data.items():
        text.append(f"  {visible(key)}=", style="cyan").append(_shown(value), style="dim")
    return text


def _shown(value: Any) -> str:
    return visible(value if isinstance(value, str) else orjson.dumps(value).decode())


async def follow_to_the_end(tasks: TaskService, run: TaskRun, *, logs: bool, json: bool) -> ExitCode:
    """Show a run until it is final; FAILED unless it succeeded.

    With ``logs`` they are printed as they come. A bar is drawn where there is a terminal.
    """
    try:
        async with _bar(_console_for_bar(logs=logs, json=json), tasks, run):
            if logs:
                await print_log(tasks, run.id, follow=True, json=json, mark=True)
            final = await tasks.wait(run.id)
    except asyncio.CancelledError:
        note(f"The run goes on: `taskloom runs logs {run.id} --follow`, or `taskloom runs abort {run.id}`.")
        raise
    if json:
        document = run_document(final)
        print_json(_marked("TaskRun", document) if logs else document, in_lines=logs)
    else:
        say_outcome(final)
    return ExitCode.OK if final.status == SUCCEEDED else ExitCode.FAILED


def say_outcome(run: TaskRun) -> None:
    """Say in one line how a run ended, with its error or output."""
    text = status_text(run.status, run.status_reason)
    took = duration_ms(run)
    if took is not None:
        text.append(f" after {exact(took / 1000)}", style="not bold default")
    if run.error is not None and run.status != SUCCEEDED:
        text.append(visible(f": {run.error.get('type')}: {run.error.get('message')}"), style="not bold default")
    elif run.output is not None:
        text.append(": " + visible(orjson.dumps(run.output).decode()), style="not bold default")
    out.print(text, soft_wrap=not out.is_terminal)


def _console_for_bar(*, logs: bool, json: bool) -> Console | None:
    """Where a bar can be drawn without getting between the lines of the answer; None for nowhere."""
    if out.is_terminal and not json:
        return out
    return err if err.is_terminal and not (json and logs) else None


@asynccontextmanager
async def _bar(console: Console | None, tasks: TaskService, run: TaskRun) -> AsyncGenerator[None]:
    """Draw the run's progress while the block lasts."""
    if console is None:
        yield
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[status]}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[done]}", justify="right", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as progress:
        drawing = asyncio.create_task(_draw(progress, tasks, run))
        try:
            yield
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)


async def _draw(progress: Progress, tasks: TaskService, run: TaskRun) -> None:
    bar = progress.add_task("", total=None, status="", done="")
    async with aclosing(tasks.watch(run.id)) as changes:
        async for now in changes:
            stored = now.progress or {}
            percent = stored.get("percent")
            progress.update(
                bar,
                description=visible(stored.get("message") or now.name),
                status=str(now.status),
                done=progress_words(now),
                total=None if percent is None else 100,
                completed=percent or 0,
            )


def _marked(type: str, document: Document) -> Document:
    return {"__typename": type, **document}
