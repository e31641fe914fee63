"""One run for people: a panel with all that is known of it, and a table of its iterations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from rich import box
from rich.console import Group, RenderableType
from rich.json import JSON
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app.cli.documents import duration_ms
from app.cli.listings import fields, plain_table
from app.cli.words import OUTCOME_STYLES, STYLES, ago, exact, local_time, number, progress_words, status_text, visible
from app.counting import counted, named
from app.states import ASLEEP

if TYPE_CHECKING:
    from app.logs import IterationRow
    from app.models import TaskRun

JSON_LINES = 40
NARROW = 60
"""Below this width a frame has no room for an id in one piece."""


def run_panel(run: TaskRun, width: int) -> RenderableType:
    """A run: where it stands and why, its times, progress, input, output and error."""
    if width < NARROW:
        return Group(Text(visible(run.name), style="bold"), fields(_facts(run)), *_error(run), Text())
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for word, value in _facts(run):
        facts.add_row(word, value)
    return Panel(
        Group(facts, *_error(run)),
        title=Text(visible(run.name), style="bold"),
        title_align="left",
        box=box.ROUNDED,
        border_style=STYLES.get(str(run.status), "").removeprefix("bold "),
        padding=(1, 2),
    )


def _facts(run: TaskRun) -> Iterator[tuple[str, str | Text]]:
    yield "run", str(run.id)
    yield "definition", run.definition_id
    yield "status", status_text(run.status, run.status_reason)
    yield from _waits(run)
    yield from _abort(run)
    yield from _progress(run)
    yield from _times(run)
    yield from _tries(run)
    yield from _origin(run)
    yield "input", _json(run.input)
    if run.output is not None:
        yield "output", _json(run.output)


def _waits(run: TaskRun) -> Iterator[tuple[str, str]]:
    if run.wait_for and run.status in ASLEEP:
        yield "waits for", named([str(id) for id in run.wait_for])


def _abort(run: TaskRun) -> Iterator[tuple[str, str]]:
    if run.abort_requested_at is not None:
        message = f": {visible(run.abort_message)}" if run.abort_message else ""
        yield "abort", f"{'forced' if run.abort_forced else 'asked'} {local_time(run.abort_requested_at)}{message}"


def _progress(run: TaskRun) -> Iterator[tuple[str, str]]:
    stored = run.progress
    if stored is not None:
        current, total = stored.get("current"), stored.get("total")
        count = f"{number(current)} of {number(total)}" if current is not None and total is not None else ""
        parts = (progress_words(run), count, visible(stored.get("message") or ""))
        yield "progress", " · ".join(part for part in parts if part)


def _times(run: TaskRun) -> Iterator[tuple[str, str]]:
    yield "created", f"{local_time(run.created_at)} ({ago(run.created_at)})"
    if run.started_at is None:
        yield "starts", f"{local_time(run.due_at or run.start_at)} ({ago(run.due_at or run.start_at)})"
        if run.expires_at is not None:
            yield "expires", f"{local_time(run.expires_at)} ({ago(run.expires_at)})"
        return
    yield "started", local_time(run.started_at)
    took = exact((duration_ms(run) or 0) / 1000)
    if run.finished_at is not None:
        yield "finished", f"{local_time(run.finished_at)}, after {took}"
    else:
        yield "for", took
        if run.status == "WAITING" and run.due_at is not None:
            yield "goes on", f"{local_time(run.due_at)} ({ago(run.due_at)})"


def _tries(run: TaskRun) -> Iterator[tuple[str, str]]:
    yield "iteration", f"{run.iteration} of at most {run.max_iterations}"
    attempt = f"{run.attempt} of at most {run.max_attempts}"
    yield "attempt", attempt + (f", interruptions: {run.interruptions}" if run.interruptions else "")
    yield "log", counted(run.log_count, "line") + _notable(run)


def _notable(run: TaskRun) -> str:
    counts = ((run.log_warning, "warning"), (run.log_error, "error"))
    return "".join(f", {counted(count, word)}" for count, word in counts if count)


def _origin(run: TaskRun) -> Iterator[tuple[str, str]]:
    yield "queue", f"{run.queue}, priority {run.priority}"
    if run.tags:
        yield "tags", visible(", ".join(run.tags))
    for word, value in (("worker", run.worker), ("parent", run.parent_id), ("rerun of", run.rerun_of)):
        if value is not None:
            yield word, visible(str(value))
    if run.timeout_seconds is not None:
        yield "timeout", f"{exact(run.timeout_seconds)} for an attempt"
    for word, key in (("idempotency", run.idempotency_key), ("unique", run.unique_key), ("limit key", run.limit_key)):
        if key:
            yield word, visible(key)


def _json(value: Any) -> Text:
    """A JSON value in colour, cut after some lines."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    if len(text) <= 60:
        text = orjson.dumps(value).decode()
    lines = visible(text).splitlines()
    if len(lines) <= JSON_LINES and max(map(len, lines)) <= 2000:
        coloured = JSON(text, indent=None if len(lines) == 1 else 2).text
        # JSON would be cut off at the edge.
        coloured.no_wrap = False
        return coloured
    shown = "\n".join(line[:2000] for line in lines[:JSON_LINES])
    return Text(f"{shown}\n… {len(text):,} characters in all; --json shows them")


def _error(run: TaskRun) -> Iterator[RenderableType]:
    if run.error is not None:
        yield Text()
        head = f"{run.error.get('type', 'Error')}: {run.error.get('message', '')}"
        yield Text(visible(head), style="bold red")
        if trace := run.error.get("traceback"):
            yield Text(visible(str(trace).rstrip()), style="dim")


def iterations_table(rows: Sequence[IterationRow]) -> Table:
    """The attempts at a run's iterations, in order."""
    table = plain_table("ITERATION", "ATTEMPT", "OUTCOME", "STARTED", "TOOK", "WORKER", "ERROR")
    for index in (0, 1, 4):
        table.columns[index].justify = "right"
    for column in table.columns[:5]:
        column.no_wrap = True
    for row in rows:
        outcome = str(row.outcome or "under way")
        took = (row.finished_at - row.started_at).total_seconds() if row.finished_at else None
        table.add_row(
            str(row.number),
            str(row.attempt),
            Text(outcome, style=OUTCOME_STYLES.get(outcome, "yellow")),
            row.started_at.astimezone().strftime("%H:%M:%S"),
            exact(took) if took is not None else "",
            row.worker or "",
            visible((row.error or {}).get("type", "")),
        )
    return table
