"""All SQL that reads statistics: from rollups, and from the few runs that are not in them yet.

A span of time is put together from the longest rollups that fit into it, as a sum is paid with the largest coins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, cast
from uuid import UUID

from app.db import ReadSession
from app.periods import ceiling, floor
from app.rollup_statements import COUNTERS, DAY, FIGURES, HOUR, QUARTER, SUMS, counted, near
from app.rollups import BEGINNING, KEPT_DAYS, Place

TAIL = 50_000
"""How many runs that are in no rollup are looked at, the first to finish first."""

Span = tuple[datetime, datetime]


class StatisticsDimension(StrEnum):
    """What statistics are divided by. Runs without a saved task have neither group nor owner."""

    TASK = "TASK"
    DEFINITION = "DEFINITION"
    GROUP = "GROUP"
    OWNER = "OWNER"


class StatisticsRank(StrEnum):
    """What comes first in a ranking: the most runs, the most failures, or the longest time that runs took together."""

    RUNS = "RUNS"
    FAILURES = "FAILURES"
    TIME = "TIME"


_RANKS = {
    StatisticsRank.RUNS: COUNTERS,
    StatisticsRank.FAILURES: ("failed", "lost", "expired"),
    StatisticsRank.TIME: ("duration_ms",),
}
_COLUMNS = {
    StatisticsDimension.TASK: "task_id",
    StatisticsDimension.DEFINITION: "definition_id",
    StatisticsDimension.GROUP: "group_name",
    StatisticsDimension.OWNER: "owner",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of some runs: their numbers by final status, sums in milliseconds, and histograms by bin."""

    succeeded: int = 0
    failed: int = 0
    aborted: int = 0
    lost: int = 0
    expired: int = 0
    duration_ms: float = 0.0
    wait_ms: float = 0.0
    durations: Mapping[int, int] = field(default_factory=dict[int, int])
    waits: Mapping[int, int] = field(default_factory=dict[int, int])


@dataclass(frozen=True, slots=True)
class Asked:
    """Of which runs: those that have one of the values of every dimension given."""

    values: Mapping[StatisticsDimension, Sequence[Any]] = field(
        default_factory=dict[StatisticsDimension, Sequence[Any]]
    )
    by: StatisticsDimension | None = None

    @property
    def dimensions(self) -> set[StatisticsDimension]:
        """All that the runs have to be told apart by."""
        return {*self.values, *({self.by} if self.by else ())}

    def only(self, keys: Sequence[Any]) -> Asked:
        """The same of some keys alone."""
        assert self.by is not None
        return replace(self, values={**self.values, self.by: keys})


@dataclass(frozen=True, slots=True)
class Source:
    """Rollups that answer: of so many minutes, by these dimensions as columns of a table, where a condition holds."""

    minutes: tuple[int, ...]
    table: str
    columns: Mapping[StatisticsDimension, str]
    condition: str = "true"


def sources(dimensions: set[StatisticsDimension]) -> list[Source]:
    """Where the figures are by these dimensions."""
    by_task = Source((DAY, QUARTER), "task_rollups", _COLUMNS)
    if len(dimensions) > 1 or StatisticsDimension.TASK in dimensions:
        return [by_task]
    scope, columns = "ALL", dict[StatisticsDimension, str]()
    for dimension in dimensions:
        scope, columns = dimension.value, {dimension: "key"}
    if scope in ("ALL", "DEFINITION"):
        return [Source((DAY, HOUR, QUARTER), "run_rollups", columns, f"scope = '{scope}'")]
    return [Source((DAY,), "run_rollups", columns, f"scope = '{scope}'"), replace(by_task, minutes=(QUARTER,))]


@dataclass(frozen=True, slots=True)
class Known:
    """What there is: runs up to the mark are counted, and finer rollups are kept for so long."""

    mark: Place
    now: datetime

    def snapped(self, moment: datetime, levels: Sequence[int]) -> datetime:
        """The moment, or where rollups as fine as that are gone, the one before it that the finest left begin at."""
        for minutes in sorted(levels):
            if minutes == DAY or moment >= floor(self.now, DAY) - timedelta(days=KEPT_DAYS[minutes]):
                return floor(moment, minutes)
        return moment

    def parts(self, span: Span, levels: Sequence[int]) -> list[tuple[int, datetime, datetime]]:
        """The span from the longest rollups there are: how many minutes they have, and from when to before when."""
        since, until = span
        for minutes in sorted(levels, reverse=True):
            low, high = ceiling(since, minutes), floor(until, minutes)
            if minutes != QUARTER:
                high = min(high, floor(self.mark[0], minutes))
            if low < high:
                return [*self.parts((since, low), levels), (minutes, low, high), *self.parts((high, until), levels)]
        return []


class RollupReading:
    """Reads statistics in one session, as of one moment."""

    def __init__(self, session: ReadSession) -> None:
        self._session = cast(Any, session)
        self.known = Known(BEGINNING, BEGINNING[0])

    async def begin(self) -> None:
        """Find out what there is; everything is read as of now."""
        # A mark that moves between two statements would let runs be counted twice, or not at all.
        await self._session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        # Compiling these statements would take longer than executing them.
        await self._rows("SELECT set_config('jit', 'off', true), set_config('work_mem', '32MB', true)")
        [row] = await self._rows("SELECT now() AS now, m.* FROM (VALUES (1)) AS one LEFT JOIN rollup_mark m ON true")
        place = BEGINNING if row["run_id"] is None else (row["finished_at"], row["run_id"])
        self.known = Known(place, row["now"])

    async def as_of(self, span: Span) -> datetime:
        """The time before which every run of a span that finished is counted here."""
        [row] = await self._rows(
            f"SELECT max(finished_at) AS last, count(*) AS runs FROM ({_tail(1)}) AS tail", *self.known.mark, *span
        )
        return row["last"] if row["runs"] == TAIL else self.known.now

    def is_coarse(self, asked: Asked, moment: datetime) -> bool:
        """Whether the rollups that begin at a moment are gone, and it is moved back to where longer ones begin."""
        levels = [minutes for source in sources(asked.dimensions) for minutes in source.minutes]
        return self.known.snapped(moment, levels) != moment

    async def is_there(self, place: str, key: Any) -> bool:
        """Whether there is a rollup at a place (``table WHERE column = $1``)."""
        [row] = await self._rows(f"SELECT EXISTS (SELECT FROM {place}) AS found", key)
        return row["found"]

    async def figures(self, asked: Asked, spans: Sequence[Span]) -> dict[tuple[int, Any], Figures]:
        """What became of the runs of each span, by the span's number and the key (None without a dimension)."""
        cells, arguments = self._cells(
            asked, spans, (*SUMS, "duration_bins", "duration_counts", "wait_bins", "wait_counts")
        )
        sums = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
        none = ", ".join("NULL" for _ in SUMS)
        rows = await self._rows(
            f"""
            WITH cell AS MATERIALIZED ({cells})
            SELECT span, key, NULL AS kind, NULL::int AS bin, NULL::bigint AS number, {sums}
            FROM cell GROUP BY span, key
            UNION ALL SELECT span, key, 'duration', bin, sum(number), {none}
            FROM cell, unnest(duration_bins, duration_counts) AS u(bin, number) GROUP BY span, key, bin
            UNION ALL SELECT span, key, 'wait', bin, sum(number), {none}
            FROM cell, unnest(wait_bins, wait_counts) AS u(bin, number) GROUP BY span, key, bin""",
            *arguments,
        )
        return _figures(rows)

    async def ranked(self, asked: Asked, span: Span, rank: StatisticsRank, first: int) -> list[Any]:
        """The keys that come first in a span."""
        # Nothing else, so that days of tasks are read from their index alone.
        cells, arguments = self._cells(asked, [span], _RANKS[rank])
        sums = " + ".join(f"sum({name})" for name in _RANKS[rank])
        rows = await self._rows(
            f"SELECT key FROM ({cells}) AS cell GROUP BY key ORDER BY {sums} DESC, key LIMIT {int(first)}", *arguments
        )
        return [row["key"] for row in rows]

    async def slowest(self, asked: Asked, span: Span, first: int) -> list[tuple[UUID, float]]:
        """The runs of a span that took longest, each with its milliseconds."""
        cells, arguments = self._cells(asked, [span], ("slow_ids", "slow_ms"))
        rows = await self._rows(
            f"""
            SELECT u.id, u.ms FROM ({cells}) AS cell, unnest(slow_ids, slow_ms) AS u(id, ms)
            ORDER BY u.ms DESC, u.id LIMIT {int(first)}""",
            *arguments,
        )
        return [(row["id"], row["ms"]) for row in rows]

    def _cells(self, asked: Asked, spans: Sequence[Span], names: Sequence[str]) -> tuple[str, list[Any]]:
        """A SELECT of columns of what the spans, which follow on each other, consist of, and its arguments."""
        chosen = sources(asked.dimensions)
        levels = [minutes for source in chosen for minutes in source.minutes]
        parts: list[tuple[Any, ...]] = []
        for number, (since, until) in enumerate(spans):
            kept = (self.known.snapped(since, levels), self.known.snapped(until, levels))
            parts += [(*part, number) for part in self.known.parts(kept, levels)]
        columns = [[part[place] for part in parts] for place in range(4)]
        tail = [*self.known.mark, spans[0][0], spans[-1][1]]
        starts = [since for since, _ in spans]
        selects = [_cells_of(source, minutes, asked, names) for source in chosen for minutes in source.minutes]
        return "\nUNION ALL ".join([*selects, _cells_of_runs(asked, names)]), [
            *columns,
            *tail,
            starts,
            *map(list, asked.values.values()),
        ]

    async def _rows(self, query: str, *arguments: Any) -> list[Mapping[str, Any]]:
        connection = await self._session.connection()
        return (await connection.exec_driver_sql(query, arguments)).mappings().all()


def _tail(first: int) -> str:
    """The first runs of a span that are behind the mark; the mark and the span are four arguments from ``first`` on."""
    mark_at, mark_id, since, until = (f"${number}" for number in range(first, first + 4))
    return f"""{FIGURES}
        WHERE finished_at IS NOT NULL AND (finished_at, id) > ({mark_at}::timestamptz, {mark_id}::uuid)
            AND finished_at >= {since}::timestamptz AND finished_at < {until}::timestamptz
        ORDER BY finished_at, id LIMIT {TAIL}"""


def _cells_of(source: Source, minutes: int, asked: Asked, names: Sequence[str]) -> str:
    # The indexes by time alone ask for a constant. They are not for what has an index of its own, which the planner,
    # who does not know how long a part is, would pass over. OFFSET 0 keeps the parts apart, so that an index is entered
    # where each begins.
    length = "part.minutes" if asked.values.keys() - {StatisticsDimension.DEFINITION} else minutes
    return f"""
    SELECT part.span, r.* FROM unnest($1::int[], $2::timestamptz[], $3::timestamptz[], $4::int[])
        AS part(minutes, since, until, span)
    CROSS JOIN LATERAL (
        SELECT {_key(asked, source.columns)} AS key, {", ".join(names)} FROM {source.table}
        WHERE {source.condition} AND {_condition(asked, source.columns)} AND minutes = {length}
            AND starts_at >= part.since AND starts_at < part.until OFFSET 0) AS r
    WHERE part.minutes = {minutes}"""


def _cells_of_runs(asked: Asked, names: Sequence[str]) -> str:
    made = counted()
    return f"""
    SELECT span, key, {", ".join(f"{made[name]} AS {name}" for name in names)}
    FROM (
        SELECT width_bucket(finished_at, $9::timestamptz[]) - 1 AS span, {_key(asked, _COLUMNS)} AS key, n.*
        FROM ({near(_tail(5))}) AS n WHERE {_condition(asked, _COLUMNS)}) AS run
    GROUP BY span, key"""


def _key(asked: Asked, columns: Mapping[StatisticsDimension, str]) -> str:
    return columns[asked.by] if asked.by else "NULL::text"


def _condition(asked: Asked, columns: Mapping[StatisticsDimension, str]) -> str:
    found = ["true"]
    for number, dimension in enumerate(asked.values, 10):
        kind = "uuid" if dimension is StatisticsDimension.TASK else "text"
        found.append(f"{columns[dimension]} = ANY(${number}::{kind}[])")
    for dimension in asked.dimensions:
        # What the partial indexes ask for. Rankings leave out runs without a task.
        there = "IS NOT NULL" if dimension is StatisticsDimension.TASK else "<> ''"
        found.append(f"{columns[dimension]} {there}")
    return " AND ".join(sorted(set(found)))


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[int, Any], Figures]:
    """The long form of figures, put together."""
    sums: dict[tuple[int, Any], Mapping[str, Any]] = {}
    bins: dict[tuple[int, Any, str], dict[int, int]] = {}
    for row in rows:
        if row["kind"] is None:
            sums[row["span"], row["key"]] = row
        else:
            bins.setdefault((row["span"], row["key"], row["kind"]), {})[row["bin"]] = int(row["number"])
    return {
        place: Figures(
            **{name: int(row[name]) for name in COUNTERS},
            duration_ms=float(row["duration_ms"]),
            wait_ms=float(row["wait_ms"]),
            durations=bins.get((*place, "duration"), {}),
            waits=bins.get((*place, "wait"), {}),
        )
        for place, row in sums.items()
    }
