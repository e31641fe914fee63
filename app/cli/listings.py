"""Lists as tables: of runs, of definitions. Ids are never cut: they are what the next command needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from app.cli.documents import duration_ms
from app.cli.words import ago, exact, progress_words, status_text, visible

if TYPE_CHECKING:
    from app.models import TaskDefinition, TaskRun

WIDE = 100
WHOLE = ("ID", "STATUS", "HEALTH", "LAST RUN", "ACTION")
"""Columns that are never broken into lines."""
OTHER_COLUMNS = 36 + 9 + 10 + 3 * 3
OTHER_COLUMNS_WIDE = OTHER_COLUMNS + 10 + 12 + 2 * 3


def plain_table(*columns: str) -> Table:
    """A table with one line below its head, and as wide as its content."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        # An id is there to be copied: other columns give way, and go on in the next line.
        table.add_column(column, no_wrap=column in WHOLE, overflow="fold")
    return table


def fitted(table: Table, width: int, needed: int, *spare: str) -> Table:
    """A table for a terminal that may be narrower than the table needs: some columns less, and the others readable.

    Args:
        table: the table, with its rows.
        width: of the terminal, in characters.
        needed: from which width on all columns are shown.
        spare: the heads of those columns that are least missed.
    """
    if width >= needed:
        return table
    kept = [column for column in table.columns if column.header not in spare]
    narrow = plain_table()
    for column in kept:
        narrow.add_column(column.header, justify=column.justify, no_wrap=column.no_wrap, overflow=column.overflow)
    for cells in zip(*(column.cells for column in kept), strict=True):
        narrow.add_row(*cells)
    return narrow


def runs_table(runs: Sequence[TaskRun], width: int) -> Table:
    """Runs, one in a row; in a narrow terminal without how far they are and how long they took."""
    wide = width >= WIDE
    table = plain_table("ID", "STATUS", "NAME", "CREATED", *(("DONE", "TOOK") if wide else ()))
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
        column.justify = "right" if column.header in ("CREATED", "DONE", "TOOK") else "left"
    table.columns[0].style = "dim"
    table.columns[2].max_width = max(10, width - (OTHER_COLUMNS_WIDE if wide else OTHER_COLUMNS))
    for run in runs:
        took = duration_ms(run)
        more = (progress_words(run), exact(took / 1000) if took is not None else "") if wide else ()
        table.add_row(str(run.id), status_text(run.status), visible(run.name), ago(run.created_at), *more)
    return table


def definitions_table(definitions: Sequence[TaskDefinition], available: Collection[str]) -> Table:
    """Definitions, one in a row."""
    table = plain_table("ID", "TITLE", "QUEUE", "AVAILABLE")
    for row in definitions:
        mark = Text("yes", "green") if row.id in available else Text("no", "yellow")
        table.add_row(row.id, visible(row.title), row.queue, mark)
    return table
