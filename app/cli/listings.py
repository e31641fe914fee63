"""Lists as tables: of runs, of definitions. Ids are never cut: they are what the next command needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.table import Column, Table
from rich.text import Text

from app.cli.documents import duration_ms
from app.cli.words import ago, exact, progress_words, status_text, visible

if TYPE_CHECKING:
    from app.models import TaskDefinition, TaskRun

WIDE = 100
WHOLE = ("ID", "STATUS", "HEALTH", "LAST RUN", "ACTION", "DEFINITION")
"""Columns that are never broken into lines."""
READABLE = 10
"""So many characters of any other column are enough to read it, line by line."""
ID_WIDTH = 36
BETWEEN = 3
OTHER_COLUMNS = ID_WIDTH + 9 + 10 + 3 * BETWEEN
OTHER_COLUMNS_WIDE = OTHER_COLUMNS + 10 + 12 + 2 * BETWEEN


def plain_table(*columns: str) -> Table:
    """A table with one line below its head, and as wide as its content."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        # An id is there to be copied: other columns give way, and go on in the next line.
        table.add_column(column, no_wrap=column in WHOLE, overflow="fold")
    return table


def fitted(table: Table, width: int, needed: int = 0, *spare: str) -> Table | Text:
    """A table for a terminal that may be narrower than the table needs: with some columns less, or one field in a line.

    Args:
        table: the table, with its rows.
        width: of the terminal, in characters.
        needed: from which width on all columns are shown.
        spare: the heads of those columns that are least missed.
    """
    shown = table if width >= needed else _without(table, spare)
    return shown if _least_width(shown) <= width else one_by_one(table)


def _without(table: Table, spare: Sequence[str]) -> Table:
    kept = [column for column in table.columns if column.header not in spare]
    narrow = plain_table()
    for column in kept:
        narrow.add_column(
            column.header,
            justify=column.justify,
            no_wrap=column.no_wrap,
            overflow=column.overflow,
            min_width=column.min_width,
        )
    for cells in zip(*(column.cells for column in kept), strict=True):
        narrow.add_row(*cells)
    return narrow


def _least_width(table: Table) -> int:
    """How wide a table must be to be read, with all in one piece that has to be."""
    return sum(map(_needs, table.columns)) + BETWEEN * (len(table.columns) - 1)


def _needs(column: Column) -> int:
    lines = [line for text in (column.header, *column.cells) for line in str(text).splitlines()]
    longest = min(max(map(cell_len, lines), default=0), column.max_width or 1_000)
    return max(longest if column.no_wrap else min(longest, READABLE), column.min_width or 0)


def one_by_one(table: Table) -> Text:
    """The rows of a table one below the other, and each field in lines of its own: there is always room for that."""
    heads = [str(column.header) for column in table.columns]
    rows = zip(*(column.cells for column in table.columns), strict=True)
    return Text("\n\n").join(fields(zip(heads, row, strict=True)) for row in rows)


def fields(named: Iterable[tuple[str, Any]]) -> Text:
    """Values with their names, one in a line; those that are empty are left out."""
    return Text("\n").join(Text.assemble((f"{name} ", "dim"), value) for name, value in named if str(value))


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
