"""Timelines of runs as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.cli.documents import Document, error_document, principal_document, time_text
from app.cli.listings import ID_WIDTH, plain_table
from app.cli.words import local_time, status_text, visible
from app.timeline import TimelineEvent

if TYPE_CHECKING:
    from rich.table import Table

    from app.timeline import TimelineEntry


def timeline_table(entries: Sequence[TimelineEntry]) -> Table:
    """A timeline, one entry in a row; times that are worked out and not kept have a ``~``."""
    table = plain_table("AT", "EVENT", "STATUS", "WHO", "WHAT")
    for column in table.columns[:4]:
        column.no_wrap = True
    # Ids stay in one piece, and sentences can be read.
    if any(len(_what(entry)) > ID_WIDTH for entry in entries):
        table.columns[4].min_width = ID_WIDTH
    for entry in entries:
        is_about = entry.is_derived and entry.event is TimelineEvent.DUE
        at = ("~" if is_about else "") + local_time(entry.at)
        status = status_text(entry.status, entry.reason)
        table.add_row(at, entry.event, status, visible(entry.actor or entry.worker or ""), visible(_what(entry)))
    return table


def _what(entry: TimelineEntry) -> str:
    parts: list[str] = []
    if entry.run_id is not None:
        parts.append(f"run {entry.run_id}")
    if entry.iteration is not None:
        parts.append(f"iteration {entry.iteration}, attempt {entry.attempt}")
    if entry.error:
        parts.append(f"{entry.error.get('type')}: {entry.error.get('message')}"[:200])
    if entry.message:
        parts.append(entry.message)
    return "; ".join(parts)


def entry_document(entry: TimelineEntry) -> Document:
    """An entry of a timeline."""
    return {
        "at": time_text(entry.at),
        "event": entry.event,
        "status": entry.status,
        "reason": entry.reason,
        "actor": principal_document(entry.actor) if entry.actor else None,
        "worker": entry.worker,
        "iteration": entry.iteration,
        "attempt": entry.attempt,
        "error": error_document(entry.error),
        "message": entry.message,
        "isDerived": entry.is_derived,
        "run": {"id": str(entry.run_id)} if entry.run_id else None,
    }
