"""The SQL on runs of definitions with limits: counting what is taken, finding who is next, parking and claiming.

Whatever decides about a definition holds its advisory lock until it commits, and its statements begin after that: so
each sees everything that was decided before. What is taken is counted from the runs that are held, and never kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app import lease_statements as sql
from app.db import Pipe, Row
from app.fitting import Candidate, reason
from app.limits import NO_KEY, Full, Limits, Rate, Scope, Tally
from app.models import LIMITED_LIVE, LIMITED_START, PARKED
from app.states import Reason

LOCK_CLASS = 7_215_318
"""The first half of the advisory locks on definitions; any number that nothing else on the database uses will do."""
_FIRST = "(r.started_at IS NULL)"
_CANDIDATE = f"""r.id, r.claim_no, r.queue, r.priority, r.due_at, COALESCE(r.limit_key, '{NO_KEY}') AS key,
    {_FIRST} AS first, r.parked, r.status_reason"""
_ORDER = "r.priority DESC, r.due_at, r.id"
_CLAIMABLE_BY = "id, claim_no, status, due_at, expires_at, started_at"
_PARKED = f"{PARKED} AND {sql.IN_TIME}"

_HELD = f"""
    SELECT COALESCE(limit_key, '{NO_KEY}') AS key, count(*) AS number FROM task_runs
    WHERE status IN {sql.HELD} AND definition_id = $1 GROUP BY 1"""
# Counted no further than the limit, and in the order of an index: otherwise the planner believes that walking through
# the table would soon bring so many.
_STARTS = f"""
    SELECT count(*) FROM (SELECT FROM task_runs WHERE {LIMITED_START} AND definition_id = $1
        AND started_at > statement_timestamp() - make_interval(secs => $2)
        ORDER BY started_at DESC LIMIT $3) AS counted"""
_STARTS_BY_KEY = f"""
    SELECT k.key, counted.number FROM unnest($4::text[]) AS k(key) CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM (SELECT FROM task_runs WHERE {LIMITED_START} AND definition_id = $1
            AND limit_key = k.key AND started_at > statement_timestamp() - make_interval(secs => $2)
            ORDER BY started_at DESC LIMIT $3) AS starts) AS counted"""
_RUNG = f"""
    SELECT {_CANDIDATE} FROM unnest($2::uuid[], $3::int[]) AS rung(id, claim_no)
    CROSS JOIN LATERAL (SELECT * FROM task_runs WHERE id = rung.id OFFSET 0) AS r
    WHERE r.claim_no = rung.claim_no AND r.definition_id = $1 AND r.status = 'QUEUED' AND {sql.IN_TIME}"""
_PARKED_BY_KEY = f"""
    SELECT run.* FROM unnest($2::text[], $3::int[], $4::int[]) AS k(key, again, first)
    CROSS JOIN unnest($5::text[]) AS q(queue)
    CROSS JOIN LATERAL (VALUES (false, k.again), (true, k.first)) AS s(first, room)
    CROSS JOIN LATERAL (
        SELECT {_CANDIDATE} FROM task_runs r WHERE {_PARKED} AND r.definition_id = $1 AND r.limit_key = k.key
        AND r.queue = q.queue AND {_FIRST} = s.first ORDER BY {_ORDER} LIMIT s.room) AS run"""
_PARKED_BY_DEFINITION = f"""
    SELECT run.* FROM unnest($4::text[]) AS q(queue)
    CROSS JOIN LATERAL (VALUES (false, $2::int), (true, $3::int)) AS s(first, room)
    CROSS JOIN LATERAL (
        SELECT {_CANDIDATE} FROM task_runs r WHERE r.status = 'QUEUED' AND r.parked = 'DEFINITION' AND {sql.IN_TIME}
        AND r.definition_id = $1 AND r.queue = q.queue AND {_FIRST} = s.first ORDER BY {_ORDER} LIMIT s.room) AS run"""
# From one key to the next by the index, however many runs wait under each.
_PARKED_KEYS = f"""
    WITH RECURSIVE keys(key) AS (
        SELECT (SELECT min(limit_key) FROM task_runs WHERE {PARKED} AND definition_id = $1 AND limit_key > $2)
        UNION ALL
        SELECT (SELECT min(limit_key) FROM task_runs WHERE {PARKED} AND definition_id = $1 AND limit_key > keys.key)
        FROM keys WHERE keys.key IS NOT NULL)
    SELECT key FROM keys WHERE key IS NOT NULL LIMIT $3"""
_WITH_PARKED = f"""
    SELECT d.id FROM unnest($1::text[]) AS d(id)
    WHERE EXISTS (SELECT FROM task_runs WHERE {PARKED} AND definition_id = d.id)"""
_PARK = f"""
    WITH given AS (SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[])
        AS g(id, claim_no, parked, reason) ORDER BY id)
    UPDATE task_runs r SET parked = g.parked, status_reason = g.reason, limit_key = COALESCE(r.limit_key, '{NO_KEY}')
    FROM given g CROSS JOIN LATERAL ({sql.locked("g.id", "id, status, claim_no", "SKIP LOCKED")}) AS was
    WHERE r.id = was.id AND was.status = 'QUEUED' AND was.claim_no = g.claim_no
    RETURNING r.id"""
_UNPARK = f"""
    WITH chosen AS (
        SELECT id FROM task_runs WHERE {PARKED} AND definition_id = ANY($1::text[]) LIMIT $2 FOR UPDATE SKIP LOCKED
    ), free AS (
        UPDATE task_runs r SET parked = NULL, status_reason = NULL FROM chosen WHERE r.id = chosen.id RETURNING r.*)
    SELECT {sql.RING} FROM free"""
_CLAIM = f"""
    SELECT r.id, r.due_at FROM (SELECT * FROM unnest($1::uuid[], $2::int[]) AS g(id, claim_no) ORDER BY id) AS fitting
    CROSS JOIN LATERAL ({sql.locked("fitting.id", _CLAIMABLE_BY, "SKIP LOCKED")}) AS r
    WHERE r.claim_no = fitting.claim_no AND r.status = 'QUEUED' AND {sql.IN_TIME}"""
_UNSTARTED = f"{LIMITED_LIVE} AND status = 'QUEUED' AND started_at IS NULL"
_NTH_START = f"""
    SELECT started_at + make_interval(secs => $4) FROM task_runs WHERE {LIMITED_START} AND definition_id = $1
    AND ($2::text IS NULL OR limit_key = $2) ORDER BY started_at DESC OFFSET $3 LIMIT 1"""
_COUNTS = f"{LIMITED_LIVE} AND status <> 'ABORTING'"
# Those that are to stay come first; then those that are stored just now, whatever the clocks of the servers say.
_ABOVE = f"""
    SELECT id FROM (
        SELECT id FROM task_runs WHERE {_COUNTS} AND definition_id = $1 AND ($2::text IS NULL OR limit_key = $2)
        ORDER BY id = ANY($5::uuid[]) DESC, id = ANY($4::uuid[]) DESC, id DESC OFFSET $3) AS above
    WHERE id <> ALL($5::uuid[])"""
_LIVE_ANCESTORS = f"""
    WITH RECURSIVE line(n, id) AS (
        SELECT * FROM unnest($2::int[], $3::uuid[])
        UNION SELECT l.n, above.parent_id FROM line l
        CROSS JOIN LATERAL (SELECT r.parent_id FROM task_runs r WHERE r.id = l.id OFFSET 0) AS above
        WHERE above.parent_id IS NOT NULL)
    SELECT l.n, r.id, r.limit_key AS key FROM line l
    CROSS JOIN LATERAL (SELECT * FROM task_runs WHERE id = l.id OFFSET 0) AS r
    WHERE r.definition_id = $1 AND {_COUNTS}"""


@dataclass(slots=True)
class Live:
    """What counts against a trigger; ``waiting`` are the starts that are still to come, which ``tally`` includes."""

    tally: Tally = field(default_factory=Tally)
    waiting: Counter[str | None] = field(default_factory=Counter[str | None])

    def add(self, key: str) -> None:
        """Count one more run that was let in."""
        for counted in (key, None):
            self.tally.add(counted, first=True)
            self.waiting[counted] += 1


class LimitedRuns:
    """SQL on the runs of one definition with limits, on a connection in a transaction."""

    def __init__(self, pipe: Pipe, definition_id: str, limits: Limits) -> None:
        self._pipe = pipe
        self.definition_id = definition_id
        self.limits = limits

    async def lock(self) -> None:
        """Wait until nobody else decides about the definition; held until the transaction ends."""
        await self._pipe.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", LOCK_CLASS, self.definition_id)

    async def try_lock(self) -> bool:
        """The same without waiting; returns whether the lock is held."""
        statement = "SELECT pg_try_advisory_xact_lock($1, hashtext($2))"
        return await self._pipe.fetchval(statement, LOCK_CLASS, self.definition_id)

    # Counting.

    async def tally_held(self) -> Tally:
        """The slots that are taken, and the starts of the whole definition within its window."""
        tally = Tally()
        for row in await self._pipe.fetch(_HELD, self.definition_id):
            tally.taken[row["key"]] += row["number"]
            tally.taken[None] += row["number"]
        await self._count_starts(tally)
        return tally

    async def _count_starts(self, tally: Tally) -> None:
        rate = self.limits.bounds(Scope.DEFINITION).rate
        if rate:
            tally.started[None] = await self._pipe.fetchval(_STARTS, self.definition_id, rate.seconds, rate.starts)

    async def count_starts_by_key(self, tally: Tally, keys: Collection[str]) -> None:
        """Add the starts under these keys to a tally."""
        rate = self.limits.bounds(Scope.KEY).rate
        if rate and keys:
            rows = await self._pipe.fetch(_STARTS_BY_KEY, self.definition_id, rate.seconds, rate.starts, sorted(keys))
            tally.started.update({row["key"]: row["number"] for row in rows})

    # Finding.

    async def rung(self, run_ids: Sequence[UUID], claim_nos: Sequence[int]) -> list[Candidate]:
        """Those of the rung runs that are due under that claim number."""
        return [_candidate(row) for row in await self._pipe.fetch(_RUNG, self.definition_id, run_ids, claim_nos)]

    async def next_by_key(self, rooms: Mapping[str, tuple[int, int]], queues: Sequence[str]) -> list[Candidate]:
        """The next parked runs of each key: so many of those that started before, and of those that did not."""
        if not rooms:
            return []
        again, first = zip(*rooms.values(), strict=True)
        return [
            _candidate(row)
            for row in await self._pipe.fetch(_PARKED_BY_KEY, self.definition_id, list(rooms), again, first, queues)
        ]

    async def next_of_definition(self, room: tuple[int, int], queues: Sequence[str]) -> list[Candidate]:
        """The next runs that wait for the definition only."""
        rows = await self._pipe.fetch(_PARKED_BY_DEFINITION, self.definition_id, *room, queues) if any(room) else []
        return [_candidate(row) for row in rows]

    async def parked_keys(self, after: str | None, limit: int) -> list[str]:
        """The keys under which runs are parked, in their order, from the one behind ``after``."""
        first = [NO_KEY] if after is None else []
        rows = await self._pipe.fetch(_PARKED_KEYS, self.definition_id, after or NO_KEY, limit)
        return first + [row["key"] for row in rows]

    # Deciding.

    async def park(self, waiting: Sequence[tuple[Candidate, Full]]) -> list[Row]:
        """Let runs wait for what they met; returns their ids."""
        columns = (
            [run.id for run, _ in waiting],
            [run.claim_no for run, _ in waiting],
            [full.scope.value for _, full in waiting],
            [reason(full).value for _, full in waiting],
        )
        return await self._pipe.fetch(_PARK, *columns) if waiting else []

    async def claim(self, owner: UUID, worker: str, fitting: Sequence[Candidate]) -> list[Row]:
        """Claim runs that fit."""
        if not fitting:
            return []
        # Not now(): the transaction began before it got the lock, and so before the last holder of a slot ended.
        statement = sql.claim(
            _CLAIM, owner="$3", worker="$4", now="clock_timestamp()", limit_key=f"COALESCE(r.limit_key, '{NO_KEY}')"
        )
        ids, claim_nos = [run.id for run in fitting], [run.claim_no for run in fitting]
        return await self._pipe.fetch(statement, ids, claim_nos, owner, worker)

    # Triggers.

    async def count_live(self, keys: Collection[str]) -> Live:
        """What a trigger has to reckon with: the live runs, and the starts that were and those that will be."""
        live = Live()
        await self._count_starts(live.tally)
        await self.count_starts_by_key(live.tally, keys)
        for scope in Scope:
            bounds = self.limits.bounds(scope)
            await self._count(live.tally.taken, LIMITED_LIVE, scope, bounds.concurrency, keys)
            await self._count(live.waiting, _UNSTARTED, scope, bounds.rate and bounds.rate.starts, keys)
        for key, number in live.waiting.items():
            live.tally.started[key] += number
        return live

    async def _count(
        self, counts: Counter[str | None], condition: str, scope: Scope, limit: int | None, keys: Collection[str]
    ) -> None:
        if limit is None:
            return
        whole, each = _count_statements(condition)
        if scope is Scope.DEFINITION:
            counts[None] = await self._pipe.fetchval(whole, self.definition_id, limit)
            return
        rows = await self._pipe.fetch(each, self.definition_id, limit, sorted(keys))
        counts.update({row["key"]: row["number"] for row in rows})

    async def room_at(self, key: str | None, rate: Rate, waiting: int) -> datetime | None:
        """When one more may start besides so many that wait, by the starts so far; None when that is not known yet."""
        if waiting >= rate.starts:
            return None
        nth = rate.starts - waiting - 1
        return await self._pipe.fetchval(_NTH_START, self.definition_id, key, nth, rate.seconds)

    async def above(self, key: str | None, limit: int, new: Sequence[UUID], spared: Sequence[UUID]) -> list[UUID]:
        """The oldest live runs above a limit, of a key or of the whole definition; those stored just now are newest.

        Those that are ``spared`` count, and others take their turn.
        """
        return [row["id"] for row in await self._pipe.fetch(_ABOVE, self.definition_id, key, limit, new, spared)]

    async def live_ancestors(self, parents: Sequence[tuple[int, UUID]]) -> list[Row]:
        """The live runs of the definition, as ``(n, id, key)``, that are among these parents or above them."""
        if not parents:
            return []
        return await self._pipe.fetch(_LIVE_ANCESTORS, self.definition_id, *zip(*parents, strict=True))


async def definitions_with_parked(pipe: Pipe, definition_ids: Sequence[str]) -> list[str]:
    """Which of the definitions have runs that wait for a limit."""
    rows = await pipe.fetch(_WITH_PARKED, definition_ids) if definition_ids else []
    return [row["id"] for row in rows]


async def unpark(pipe: Pipe, definition_ids: Sequence[str], limit: int) -> list[Row]:
    """Queue parked runs of definitions that have no limits any more; returns what a ring needs."""
    return await pipe.fetch(_UNPARK, definition_ids, limit) if definition_ids else []


def _count_statements(condition: str) -> tuple[str, str]:
    """How many runs meet a condition, counted no further than a limit: of the definition, and of each key."""
    counted = f"SELECT count(*) AS number FROM (SELECT FROM task_runs WHERE {condition} AND definition_id = $1"
    whole = f"{counted} ORDER BY limit_key, id LIMIT $2) AS live"
    each = f"""
        SELECT k.key, live.number FROM unnest($3::text[]) AS k(key)
        CROSS JOIN LATERAL ({counted} AND limit_key = k.key ORDER BY id LIMIT $2) AS runs) AS live"""
    return whole, each


def _candidate(row: Row) -> Candidate:
    return Candidate(
        id=row["id"],
        claim_no=row["claim_no"],
        queue=row["queue"],
        priority=row["priority"],
        due_at=row["due_at"],
        key=row["key"],
        first=row["first"],
        parked=row["parked"] and Scope(row["parked"]),
        reason=row["status_reason"] and Reason(row["status_reason"]),
    )
