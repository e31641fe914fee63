"""``taskloom stats``: what became of the runs that have finished, as a table."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import clock
from app.cli import arguments
from app.cli.asking import asked
from app.cli.outcomes import Refusal
from app.cli.terminal import note, out, print_json
from app.cli.triggering import Json
from app.counting import counted

if TYPE_CHECKING:
    from rich.table import Table

    from app.rollup_reading import StatisticsDimension
    from app.service import TaskService
    from app.service.statistics_reading import Bucket, Measures, Percentiles, Ranked, Report, StatisticsQuery

Values = list[str] | None
COLUMNS = ("RUNS", "OK", "FAILED", "ABORTED", "SUCCESS", "PER HOUR", "P50", "P95", "P99", "WAIT P95")
NARROW = ("RUNS", "FAILED", "SUCCESS", "P95", "WAIT P95")
"""What a terminal shows that is too narrow for all of them."""
WIDE = 130
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def stats(
    since: Annotated[str, typer.Option(help="From when: a length of time back, as in 7d, 12h or 2w, or a time.")] = "",
    until: Annotated[str, typer.Option(help="Until when, in the same way; now without it.")] = "",
    interval: Annotated[
        str, typer.Option("--interval", "-i", help="QUARTER_HOUR, HOUR, DAY, WEEK or MONTH: a row of the table.")
    ] = "DAY",
    time_zone: Annotated[str, typer.Option("--time-zone", "-z", help="The IANA time zone of days and hours.")] = "UTC",
    by: Annotated[
        str, typer.Option(help="A ranking instead: by task, definition, group or owner, over the whole time.")
    ] = "",
    definition: Annotated[
        Values, typer.Option("--definition", "-d", help="Only of this definition, once for each.")
    ] = None,
    task: Annotated[Values, typer.Option(help="Only of the saved task of this id, once for each.")] = None,
    group: Annotated[Values, typer.Option(help="Only of tasks of this group, once for each.")] = None,
    owner: Annotated[
        Values,
        typer.Option(callback=arguments.principals, help="Only of this owner's tasks, as in USER:ada, once for each."),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many rows a ranking has.")] = 20,
    json: Json = False,
) -> None:
    """Show what became of the runs that finished: by day, or who has most of them. Deleted runs stay counted."""
    from app.periods import StatisticsInterval
    from app.service.statistics_reading import StatisticsQuery

    query = StatisticsQuery(
        interval=arguments.choice(interval, StatisticsInterval, "--interval"),
        time_zone=time_zone,
        since=_moment(since, "--since"),
        until=_moment(until, "--until"),
        definition_ids=definition,
        task_ids=task,
        groups=group,
        owners=owner,
    )
    if by:
        _ranking(query, by, limit, json=json)
    else:
        _report(query, json=json)


def _report(query: StatisticsQuery, *, json: bool) -> None:
    from app.cli.listings import fitted

    report = asked(lambda tasks: tasks.statistics.of(query))
    if json:
        print_json(_report_document(report))
        return
    out.print(fitted(_report_table(report), out.width))
    note(f"The time before, from {report.previous.since:%Y-%m-%d %H:%M} UTC: {_words(report.previous.measures)}.")
    if clock.now() - report.as_of > timedelta(minutes=1):
        note(f"What finished after {report.as_of:%Y-%m-%d %H:%M:%S} UTC is not counted yet.")


def _ranking(query: StatisticsQuery, by: str, limit: int, *, json: bool) -> None:
    from app.cli.listings import ID_WIDTH, fitted, plain_table
    from app.rollup_reading import StatisticsDimension

    dimension = arguments.choice(by, StatisticsDimension, "--by")

    async def read(tasks: TaskService) -> tuple[list[Ranked], dict[str, str]]:
        rows = await tasks.statistics.ranking(query, dimension, first=limit)
        return rows, await _names(tasks, dimension, rows)

    rows, names = asked(read)
    if json:
        print_json({"nodes": [{"key": row.key, **_document(row.measures)} for row in rows]})
        return
    table = _plain(plain_table(dimension.value))
    is_by_task = dimension is StatisticsDimension.TASK
    table.columns[0].min_width = ID_WIDTH if is_by_task else None
    for row in rows:
        table.add_row(names.get(row.key, row.key), *_cells(row.measures))
    # Ids of tasks are long, and have to be there in one piece.
    out.print(fitted(table, out.width, WIDE, *(("WAIT P95",) if is_by_task else ())))


async def _names(tasks: Any, by: StatisticsDimension, rows: list[Ranked]) -> dict[str, str]:
    """What tasks are called, behind their ids, which the next command needs."""
    from uuid import UUID

    from app.cli.words import visible
    from app.rollup_reading import StatisticsDimension

    if by is not StatisticsDimension.TASK:
        return {row.key: visible(row.key) for row in rows}
    found = await tasks.saved.find([UUID(row.key) for row in rows], deleted=True)
    return {str(id): f"{id}{'  ' if _is_wide() else chr(10)}{visible(task.name)}" for id, task in found.items()}


def _moment(text: str, option: str) -> datetime | None:
    if not text:
        return None
    number, unit = text[:-1], text[-1].lower()
    if unit in UNITS and number.isdecimal() and len(number) < 6:
        return clock.now() - timedelta(**{UNITS[unit]: int(number)})
    try:
        return arguments.moment(text, option)
    except Refusal:
        raise Refusal(
            f"{option} is '{text}'. Write 7d, 12h or 2w back from now, or a time: 2026-03-01T09:30."
        ) from None


def _report_table(report: Report) -> Table:
    from app.cli.listings import plain_table

    table = _plain(plain_table("FROM"))
    for bucket in report.buckets:
        table.add_row(_start(bucket), *_cells(bucket.measures), style="dim" if not bucket.measures.runs else "")
    table.add_section()
    table.add_row("all", *_cells(report.totals))
    return table


def _plain(table: Table) -> Table:
    for name in _columns():
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _is_wide() -> bool:
    return out.width >= WIDE


def _columns() -> tuple[str, ...]:
    return COLUMNS if _is_wide() else NARROW


def _start(bucket: Bucket) -> str:
    return f"{bucket.starts_at:%a %Y-%m-%d %H:%M}"


def _cells(measures: Measures) -> list[str]:
    """The columns of a row; what was lost or expired counts as failed here."""
    failed = measures.failed + measures.lost + measures.expired
    rate, pace = measures.success_rate, measures.runs_per_hour
    cells = (
        *(f"{number:,}" for number in (measures.runs, measures.succeeded, failed, measures.aborted)),
        "-" if rate is None else f"{100 * rate:.1f} %",
        "-" if pace is None else f"{pace:,.1f}",
        *(_time(value) for value in (measures.duration.p50, measures.duration.p95, measures.duration.p99)),
        _time(measures.wait.p95),
    )
    shown = _columns()
    return [cell for name, cell in zip(COLUMNS, cells, strict=True) if name in shown]


def _time(milliseconds: float | None) -> str:
    from app.cli.words import exact

    return exact(None if milliseconds is None else milliseconds / 1000)


def _words(measures: Measures) -> str:
    rate = measures.success_rate
    return counted(measures.runs, "run") + ("" if rate is None else f", {100 * rate:.1f} % of them well")


def _report_document(report: Report) -> dict[str, Any]:
    from app.cli.documents import time_text

    before = report.previous
    return {
        "asOf": report.as_of,
        "coarseBefore": report.coarse_before,
        "buckets": [
            {
                "startsAt": time_text(each.starts_at),
                "localStart": each.starts_at.isoformat(),
                "endsAt": time_text(each.ends_at),
                **_document(each.measures),
            }
            for each in report.buckets
        ],
        "totals": _document(report.totals),
        "previous": {"since": before.since, "until": before.until, **_document(before.measures)},
    }


def _document(measures: Measures) -> dict[str, Any]:
    names = ("runs", "succeeded", "failed", "aborted", "lost", "expired")
    return {
        **{name: getattr(measures, name) for name in names},
        "successRate": measures.success_rate,
        "runsPerHour": measures.runs_per_hour,
        "durationMs": _spread(measures.duration),
        "waitMs": _spread(measures.wait),
    }


def _spread(found: Percentiles) -> dict[str, float | None]:
    return {"p50": found.p50, "p95": found.p95, "p99": found.p99, "average": found.average}
