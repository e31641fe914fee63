"""All SQL of retention: the rules, the pins, and which runs a rule lets lose their details or go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.db import Pipe, Row
from app.history import MAX_LINES, NEEDED
from app.ids import first_id

DEFAULT = "*"
"""What the default rule is stored under; no definition can have this id."""
FIRST = UUID(int=0)

_RULES = "SELECT * FROM retention_rules ORDER BY definition_id = '*' DESC, definition_id"
_LOCK_RULES = "LOCK TABLE retention_rules IN SHARE ROW EXCLUSIVE MODE"
_PUT = """
    INSERT INTO retention_rules AS r (definition_id, succeeded_logs_days, failed_logs_days, runs_days, keep_last,
        updated_at, updated_by)
    VALUES ($1, $2, $3, $4, $5, now(), $6)
    ON CONFLICT (definition_id) DO UPDATE SET succeeded_logs_days = $2, failed_logs_days = $3, runs_days = $4,
        keep_last = $5, updated_at = now(), updated_by = $6
    RETURNING *"""
_PIN = "UPDATE task_runs SET is_pinned = $2 WHERE id = $1 AND is_pinned <> $2 RETURNING true"
_REMOVE = "DELETE FROM retention_rules WHERE definition_id = $1 RETURNING true"

# Every definition that has runs, from one to the next by the index task_runs_by_definition.
_NEXT_DEFINITION = """
    SELECT definition_id FROM task_runs WHERE definition_id > $1 ORDER BY definition_id, id LIMIT 1"""

_LOOKED_AT = "r.id, r.definition_id, r.task_id, r.parent_id, r.status, r.log_count, r.is_pinned, r.finished_at"
# Only what still has details is looked at: every run that ever had a line has a row for its finished attempt as well.
# OFFSET 0 keeps the planner from joining the whole table.
_NEAR_DETAILS = f"""
    SELECT {_LOOKED_AT}, i.iterations FROM (
        SELECT run_id, count(*) AS iterations FROM (
            SELECT run_id FROM task_iterations WHERE run_id > $6 AND run_id < $7 ORDER BY run_id LIMIT $8) each
        GROUP BY run_id) i
    CROSS JOIN LATERAL (SELECT * FROM task_runs t WHERE t.id = i.run_id OFFSET 0) r"""
_NEAR_RUNS = f"""
    SELECT {_LOOKED_AT}, 0::bigint AS iterations FROM task_runs r
    WHERE r.definition_id = $9 AND r.id > $6 AND r.id < $7 ORDER BY r.id LIMIT $8"""
_NEAR_ALL_RUNS = f"""
    SELECT {_LOOKED_AT}, 0::bigint AS iterations FROM task_runs r
    WHERE r.id > $6 AND r.id < $7 ORDER BY r.id LIMIT $8"""
_DETAILS_BEFORE = "CASE r.status WHEN 'SUCCEEDED' THEN k.succeeded_before ELSE k.failed_before END"
# The first of those that are kept for their number, found by as many steps in an index as the rule keeps. Looked for
# once for all rows of a task or a definition, and handed to the others by a window: the planner takes the rows for few,
# and would compare each with each in a join. Where there are not so many, all of them are kept.
_FIRST_KEPT = """
    CASE WHEN nth_of_{of} = 1 AND keep_last > 0 AND r.{of} IS NOT NULL THEN COALESCE(
        (SELECT t.id FROM task_runs t WHERE t.{of} = r.{of} ORDER BY t.id DESC OFFSET keep_last - 1 LIMIT 1), '{all}')
    END"""
_NTH = "row_number() OVER (PARTITION BY {of}, keep_last)"
_KEPT = """
    COALESCE(r.id >= first_value(first_kept_of_{of}) OVER (PARTITION BY {of}, keep_last ORDER BY nth_of_{of}), false)"""
_JUDGE = f"""
    WITH rule AS (
        SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::int[])
            AS k(definition_id, succeeded_before, failed_before, runs_before, keep_last)
    ), near AS MATERIALIZED ({{near}}
    ), ruled AS MATERIALIZED (
        SELECT r.*, k.keep_last, r.finished_at < {{before}} AS is_old, r.finished_at < k.runs_before AS goes,
            sum(r.log_count) OVER (ORDER BY r.id) - r.log_count AS lines_before
        FROM near r
        JOIN rule k ON k.definition_id = CASE WHEN r.definition_id = ANY($1) THEN r.definition_id ELSE '{DEFAULT}' END
    ), numbered AS (
        SELECT *, {_NTH.format(of="task_id")} AS nth_of_task_id,
            {_NTH.format(of="definition_id")} AS nth_of_definition_id FROM ruled
    ), bounded AS MATERIALIZED (
        SELECT *, {_FIRST_KEPT.format(of="definition_id", all=FIRST)} AS first_kept_of_definition_id,
            {_FIRST_KEPT.format(of="task_id", all=FIRST)} AS first_kept_of_task_id
        FROM numbered r
    ), judged AS (
        SELECT *, {_KEPT.format(of="definition_id")} OR {_KEPT.format(of="task_id")} AS is_kept FROM bounded r
    )
    SELECT r.id, r.definition_id, r.log_count, r.iterations, r.finished_at, COALESCE(r.goes, false) AS goes,
        COALESCE(r.is_old, false) AND NOT r.is_pinned AND NOT r.is_kept AND NOT ({NEEDED}) AS fits
    FROM judged r WHERE r.lines_before < {MAX_LINES} ORDER BY r.id"""
_JUDGE_DETAILS = _JUDGE.format(near=_NEAR_DETAILS, before=_DETAILS_BEFORE)
_JUDGE_RUNS = _JUDGE.format(near=_NEAR_RUNS, before="k.runs_before")
_JUDGE_ALL_RUNS = _JUDGE.format(near=_NEAR_ALL_RUNS, before="k.runs_before")

# What a row takes on average, its share of indexes included, by the figures that autovacuum keeps.
_BYTES = """
    SELECT COALESCE(sum(pg_total_relation_size(p.relid)) / NULLIF(sum(GREATEST(s.n_live_tup, 0)), 0), 0)::float8
    FROM (SELECT $1::regclass AS relid UNION SELECT relid FROM pg_partition_tree($1::regclass)) p
    JOIN pg_stat_user_tables s ON s.relid = p.relid"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """For how long finished runs are kept, in days (None is for ever), and how many of the newest in any case.

    ``definition_id`` is None for the rule of all definitions that have none of their own.
    """

    definition_id: str | None = None
    succeeded_logs_days: float | None = 3.0
    failed_logs_days: float | None = 30.0
    runs_days: float | None = 90.0
    keep_last: int = 10
    updated_at: datetime | None = None
    updated_by: str | None = None


class Rules:
    """The rules as of one moment."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.all = rules

    def of(self, definition_id: str) -> Rule:
        """The rule that applies to a definition: its own, or the default."""
        return next((rule for rule in self.all if rule.definition_id == definition_id), self.all[0])

    def columns(self, now: datetime) -> tuple[list[Any], ...]:
        """The rules as the parameters of a judgement: ids, three times before which runs are old, how many to keep."""
        return (
            [rule.definition_id or DEFAULT for rule in self.all],
            [before(now, rule.succeeded_logs_days) for rule in self.all],
            [before(now, rule.failed_logs_days) for rule in self.all],
            [before(now, rule.runs_days) for rule in self.all],
            [rule.keep_last for rule in self.all],
        )

    def details_end(self, now: datetime) -> UUID:
        """No run from this id on can have details that are old."""
        return _end([days for rule in self.all for days in (rule.succeeded_logs_days, rule.failed_logs_days)], now)

    def spans_end(self, now: datetime) -> UUID:
        """Runs below this id have no details to keep but for ever, or for a reason other than their age."""
        kept = [days for rule in self.all for days in (rule.succeeded_logs_days, rule.failed_logs_days)]
        return _end([max((days for days in kept if days is not None), default=None)], now)

    def runs_end(self, now: datetime, definition_id: str) -> UUID:
        """No run of a definition (of any, for ``DEFAULT`` while the rules are alike) from this id on can be old."""
        return _end([self.of(definition_id).runs_days], now)

    @property
    def runs_are_kept_alike(self) -> bool:
        """Whether runs of all definitions are kept for the same time, so that one walk by age finds those to go."""
        return len({rule.runs_days for rule in self.all}) == 1


def before(now: datetime, days: float | None) -> datetime | None:
    """The time before which a run has to have finished in order to be old; None when it never is."""
    return None if days is None else now - timedelta(days=days)


def _end(days: Sequence[float | None], now: datetime) -> UUID:
    known = [kept for kept in days if kept is not None]
    # A run has its id before it finishes, so that an old run has an old id; clocks may differ by a minute.
    return first_id(now - timedelta(days=min(known)), timedelta(minutes=1)) if known else FIRST


class Retention:
    """Rules, pins and judgements, in one transaction."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def rules(self, *, lock: bool = False) -> Rules:
        """All rules, the default first; with ``lock`` nobody else changes one before this transaction ends."""
        if lock:
            await self._pipe.execute(_LOCK_RULES)
        rows = [_rule(row) for row in await self._pipe.fetch(_RULES)]
        return Rules(rows if rows and rows[0].definition_id is None else [Rule(), *rows])

    async def put(self, rule: Rule, by: str) -> Rule:
        """Store a rule in the place of the one there is; returns it with who changed it and when."""
        values = (rule.succeeded_logs_days, rule.failed_logs_days, rule.runs_days, rule.keep_last)
        row = await self._pipe.fetchrow(_PUT, rule.definition_id or DEFAULT, *values, by)
        assert row is not None
        return _rule(row)

    async def remove(self, definition_id: str | None) -> bool:
        """Forget a definition's own rule, or what the default was changed to; returns whether there was one."""
        return await self._pipe.fetchval(_REMOVE, definition_id or DEFAULT) is not None

    async def pin(self, run_id: UUID, *, pinned: bool) -> bool:
        """Pin or unpin a run; returns whether that changed anything: not where it was so, or there is no such run."""
        return await self._pipe.fetchval(_PIN, run_id, pinned) is not None

    async def next_definition(self, after: str) -> str | None:
        """The first definition behind this one that has runs, published or not."""
        return await self._pipe.fetchval(_NEXT_DEFINITION, after)

    async def judge_details(
        self, rules: Rules, now: datetime, after: UUID, limit: int, end: UUID | None = None
    ) -> list[Row]:
        """The next runs that have details: ``id, definition_id, log_count, iterations, finished_at, goes, fits``.

        They come in order of creation; ``fits`` says whether their details may go, and ``goes`` whether such a run goes
        itself. ``limit`` bounds the iterations that are looked at, ``end`` the ids, by default to those that can be
        old.
        """
        end = end or rules.details_end(now)
        return await self._pipe.fetch(_JUDGE_DETAILS, *rules.columns(now), after, end, limit)

    async def judge_runs(self, rules: Rules, now: datetime, definition_id: str, after: UUID, limit: int) -> list[Row]:
        """The next runs of a definition, or of all for ``DEFAULT``, in order of creation; ``fits`` says who may go."""
        end = rules.runs_end(now, definition_id)
        if end <= after:
            return []
        if definition_id == DEFAULT:
            return await self._pipe.fetch(_JUDGE_ALL_RUNS, *rules.columns(now), after, end, limit)
        return await self._pipe.fetch(_JUDGE_RUNS, *rules.columns(now), after, end, limit, definition_id)

    async def bytes_a_row(self, table: str) -> float:
        """What a row of a table takes on average with its indexes, by the database's own statistics."""
        return await self._pipe.fetchval(_BYTES, table)


def _rule(row: Row) -> Rule:
    values = dict(row)
    values["definition_id"] = None if values["definition_id"] == DEFAULT else values["definition_id"]
    return Rule(**values)
