"""The SQL that counts final runs into rollups, put together from a few parts.

Runs are counted by quarters of an hour; hours and days are made of those once they are over. What is merged is brought
into one long form, a row for each figure of each key, so that a single grouping makes rollups of it: no join, and no
size that the planner would have to guess.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.histogram import bin_sql

SLOWEST = 10
"""How many of the slowest runs each rollup names: those of many rollups together are among them."""
COUNTERS = ("succeeded", "failed", "aborted", "lost", "expired")
SUMS = (*COUNTERS, "duration_ms", "wait_ms")
QUARTER, HOUR, DAY = 15, 60, 1440

_PAIRS = (("duration_bins", "duration_counts"), ("wait_bins", "wait_counts"))
_MEASURED = (*SUMS, *(name for pair in _PAIRS for name in pair), "slow_ids", "slow_ms")

_DURATION = "GREATEST(0, extract(epoch FROM finished_at - started_at)::float8 * 1000)"
_WAIT = "GREATEST(0, extract(epoch FROM started_at - start_at)::float8 * 1000)"
# GREATEST takes NULL for the least of all, and would make 0 of what is not there.
FIGURES = f"""
    SELECT id, definition_id, task_id, COALESCE(group_name, '') AS group_name, COALESCE(owner, '') AS owner, status,
        finished_at, CASE WHEN started_at IS NOT NULL THEN {_DURATION} END AS duration_ms,
        CASE WHEN started_at IS NOT NULL THEN {_WAIT} END AS wait_ms
    FROM task_runs"""
"""What counts of runs; a condition follows."""
NEXT_RUNS = f"""{FIGURES}
    WHERE finished_at IS NOT NULL AND (finished_at, id) > ($1, $2) AND finished_at < $3
    ORDER BY finished_at, id LIMIT $4"""
"""Runs behind a place, in order: up to ``$4`` that finished before ``$3``."""
THESE_RUNS = f"""{FIGURES}
    WHERE finished_at IS NOT NULL AND (finished_at, id) > ($1, $2) AND id = ANY($3::uuid[])"""
"""Those of some runs that lie behind a place."""


@dataclass(frozen=True, slots=True)
class Table:
    """One of the two tables: its name, what tells its rows apart beside their time, and the runs (``near``) by that."""

    name: str
    keys: tuple[str, ...]
    runs: str

    @property
    def groups(self) -> str:
        """What rollups are grouped by."""
        return _list((*self.keys, "starts_at"))


@dataclass(frozen=True, slots=True)
class Merge:
    """How rollups of ``coarser`` minutes are made of those of ``finer`` minutes, which ``source`` selects."""

    into: Table
    finer: int
    coarser: int
    source: str


RUNS = Table(
    "run_rollups",
    ("scope", "key"),
    "near CROSS JOIN LATERAL (VALUES ('ALL', ''), ('DEFINITION', definition_id)) AS facet(scope, key)",
)
TASKS = Table("task_rollups", ("task_id", "definition_id", "group_name", "owner"), "near WHERE task_id IS NOT NULL")
_PLAIN_SCOPES = "scope IN ('ALL', 'DEFINITION')"
# Groups and owners have rollups of days alone, made of those of tasks: finer ones would be as many as those.
MERGES = (
    Merge(RUNS, QUARTER, HOUR, f"SELECT * FROM run_rollups WHERE {_PLAIN_SCOPES}"),
    Merge(RUNS, HOUR, DAY, f"SELECT * FROM run_rollups WHERE {_PLAIN_SCOPES}"),
    Merge(TASKS, QUARTER, DAY, "SELECT * FROM task_rollups WHERE true"),
    *(
        Merge(RUNS, DAY, DAY, f"SELECT '{scope}' AS scope, {column} AS key, * FROM task_rollups WHERE {column} <> ''")
        for scope, column in (("GROUP", "group_name"), ("OWNER", "owner"))
    ),
)


def near(source: str) -> str:
    """The runs of a source, each with its bins and the quarter of an hour that it finished in."""
    return f"""
    SELECT r.*, date_bin('15 minutes', r.finished_at, 'epoch') AS starts_at, {bin_sql("r.duration_ms")} AS duration_bin,
        {bin_sql("r.wait_ms")} AS wait_bin
    FROM ({source}) AS r"""


def count(table: Table, source: str) -> str:
    """Counts runs into quarters of an hour; the source's arguments are the statement's.

    A bin may come more than once in what is counted here, until more is added to it, or it is merged.
    """

    measured = counted().values()
    return f"""
    WITH near AS MATERIALIZED ({near(source)})
    {_insert(table, str(QUARTER), measured)} FROM {table.runs} GROUP BY {table.groups} {_adding(table)}"""


def counted() -> dict[str, str]:
    """The columns of a rollup, each with the SQL that makes it out of a group of runs (``near``)."""

    def array(value: str, order: str = "") -> str:
        return f"COALESCE(array_agg({value} {order}) FILTER (WHERE duration_ms IS NOT NULL), '{{}}')"

    slowest = "ORDER BY duration_ms DESC"
    made = [
        *(f"count(*) FILTER (WHERE status = '{name.upper()}')" for name in COUNTERS),
        *(f"COALESCE(sum({name}), 0)" for name in ("duration_ms", "wait_ms")),
        *(array(value) for value in ("duration_bin", "1", "wait_bin", "1")),
        *(f"({array(value, slowest)})[1:{SLOWEST}]" for value in ("id", "duration_ms")),
    ]
    return dict(zip(_MEASURED, made, strict=True))


def merge(merge: Merge) -> str:
    """Makes the coarser rollups from ``$1`` to before ``$2``."""
    groups, columns = merge.into.groups, f"{_list(merge.into.keys)}, whole AS starts_at"
    long = _long(
        groups,
        sums=f"SELECT {columns}, {_list(SUMS)} FROM finer",
        durations=f"SELECT {columns}, bin, number FROM finer, unnest(duration_bins, duration_counts) AS u(bin, number)",
        waits=f"SELECT {columns}, bin, number FROM finer, unnest(wait_bins, wait_counts) AS u(bin, number)",
        slow=f"SELECT {columns}, u.id, u.ms FROM finer, unnest(slow_ids, slow_ms) AS u(id, ms)",
    )
    # They are made once. Should they be made again, they are the same.
    replaced = _list(f"{name} = excluded.{name}" for name in _MEASURED)
    return f"""
    WITH finer AS MATERIALIZED (
        SELECT *, date_bin('{merge.coarser} minutes', starts_at, 'epoch') AS whole FROM ({merge.source}
            AND minutes = {merge.finer} AND starts_at >= $1 AND starts_at < $2) AS f
    ), long AS ({long})
    {_insert(merge.into, str(merge.coarser), _from_long())} FROM long GROUP BY {groups}
    ON CONFLICT ({groups}, minutes) DO UPDATE SET {replaced}"""


def forget(table: Table) -> str:
    """Deletes up to ``$3`` rollups of ``$1`` minutes that begin before ``$2``."""
    scopes = f"{_PLAIN_SCOPES} AND" if table is RUNS else ""
    return f"""
    DELETE FROM {table.name} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table.name} WHERE {scopes} minutes = $1 AND starts_at < $2 LIMIT $3))"""


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _long(groups: str, *, sums: str, durations: str, waits: str, slow: str) -> str:
    """The long form of what has these sums, these bins of durations and of waits, and these slowest runs."""
    none = _list("0" for _ in SUMS)
    return f"""
    SELECT {groups}, {_list(f"sum({name}) AS {name}" for name in SUMS)}, NULL::smallint AS duration_bin,
        NULL::smallint AS wait_bin, NULL::bigint AS number, NULL::uuid[] AS slow_ids, NULL::float8[] AS slow_ms
    FROM ({sums}) AS r GROUP BY {groups}
    UNION ALL SELECT {groups}, {none}, bin, NULL, sum(number), NULL, NULL
    FROM ({durations}) AS r WHERE bin IS NOT NULL GROUP BY {groups}, bin
    UNION ALL SELECT {groups}, {none}, NULL, bin, sum(number), NULL, NULL
    FROM ({waits}) AS r WHERE bin IS NOT NULL GROUP BY {groups}, bin
    UNION ALL SELECT {groups}, {none}, NULL, NULL, NULL, array_agg(id ORDER BY place), array_agg(ms ORDER BY place)
    FROM (SELECT *, row_number() OVER (PARTITION BY {groups} ORDER BY ms DESC) AS place FROM ({slow}) AS s) AS r
    WHERE place <= {SLOWEST} GROUP BY {groups}"""


def _from_long() -> list[str]:
    """What the long form says of each column of a rollup."""

    def array(value: str, bin: str) -> str:
        return f"COALESCE(array_agg({value} ORDER BY {bin}) FILTER (WHERE {bin} IS NOT NULL), '{{}}')"

    return [
        *(f"COALESCE(sum({name}), 0)" for name in SUMS),
        *(array(value, bin) for bin in ("duration_bin", "wait_bin") for value in (bin, "number")),
        # There is one at the most.
        *(f"COALESCE(max({name}), '{{}}')" for name in ("slow_ids", "slow_ms")),
    ]


def _insert(table: Table, minutes: str, measured: Iterable[str]) -> str:
    return f"""
    INSERT INTO {table.name} AS t (minutes, {table.groups}, {_list(_MEASURED)})
    SELECT {minutes}, {table.groups}, {_list(measured)}"""


def _adding(table: Table) -> str:
    """What an INSERT does where there is a rollup already: it adds to it."""
    histograms = (
        f"""({bins}, {counts}) = (
            SELECT COALESCE(array_agg(bin ORDER BY bin), '{{}}'), COALESCE(array_agg(number ORDER BY bin), '{{}}')
            FROM (SELECT bin, sum(number) AS number FROM (
                SELECT * FROM unnest(t.{bins}, t.{counts})
                UNION ALL SELECT * FROM unnest(excluded.{bins}, excluded.{counts})) AS u(bin, number)
                GROUP BY bin) AS summed)"""
        for bins, counts in _PAIRS
    )
    slow = f"""(slow_ids, slow_ms) = (
            SELECT COALESCE(array_agg(id ORDER BY ms DESC), '{{}}'), COALESCE(array_agg(ms ORDER BY ms DESC), '{{}}')
            FROM (SELECT * FROM unnest(t.slow_ids, t.slow_ms)
                UNION ALL SELECT * FROM unnest(excluded.slow_ids, excluded.slow_ms)
                ORDER BY 2 DESC LIMIT {SLOWEST}) AS u(id, ms))"""
    sums = (f"{name} = t.{name} + excluded.{name}" for name in SUMS)
    return f"""ON CONFLICT ({table.groups}, minutes) DO UPDATE SET {_list((*sums, *histograms, slow))}"""
