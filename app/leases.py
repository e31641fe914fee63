"""The worker's side of the SQL: claims, fenced writes, settlements, due runs, expired leases, and the workers' rows.

Every statement takes a batch and decides in one go. A write counts only while the run is still held under the same
claim by the same worker, and after exactly the writes that the worker knows of (``write_no``); no row back means that
somebody else decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from app import lease_statements as sql
from app import unique_keys
from app.db import Pipe, Row
from app.limits import Limits
from app.models import CLAIMABLE, LASTED, statuses
from app.retry import Retry
from app.states import Landing, Move, TaskRunStatus

LOG_COLUMNS = ("run_id", "sequence", "iteration", "attempt", "level", "message", "data", "created_at")
_CLAIMABLE_BY = "id, claim_no, status, parked, due_at, expires_at, started_at, definition_id"
_CLAIM_RUNG = sql.claim(
    f"""
        SELECT r.id, r.due_at
        FROM (SELECT * FROM unnest($1::uuid[], $2::int[]) AS g(id, claim_no) ORDER BY id) AS rung
        CROSS JOIN LATERAL ({sql.locked("rung.id", _CLAIMABLE_BY, "SKIP LOCKED")}) AS r
        WHERE r.claim_no = rung.claim_no AND {sql.CLAIMABLE} AND r.definition_id = ANY($3::text[])""",
    owner="$4",
    worker="$5",
)
COPY_BYTES = 480 * 1024
"""Log lines in one COPY. Of a longer one asyncpg sends no more than 512 KiB before PostgreSQL has taken some, and would
wait for that beyond any limit of time: where the connection is lost meanwhile, for ever.
"""
ROW_BYTES = 100
"""What a line takes beside its text, at the most."""
Claim = tuple[UUID, int]
LogRow = tuple[UUID, int, int, int, str, str, str | None, datetime]


@dataclass(frozen=True, slots=True)
class Claimant:
    """The worker that claims: its lease owner id, the name that people see, and what it can execute."""

    owner: UUID
    name: str
    queues: tuple[str, ...]
    definition_ids: tuple[str, ...]
    limits: Mapping[str, Limits] = field(default_factory=dict[str, Limits])
    """The limits of those of the definitions that have any."""
    retries: Mapping[str, Retry] = field(default_factory=dict[str, Retry])
    """The retry policies of the definitions; one that is not named here has the default."""

    @property
    def unlimited_ids(self) -> tuple[str, ...]:
        """The definitions without limits."""
        return tuple(id for id in self.definition_ids if id not in self.limits) if self.limits else self.definition_ids


@dataclass(slots=True)
class Write:
    """One write of a worker about one run it holds: log lines, state, progress, and at the end a move that settles it.

    ``state`` and ``progress`` are JSON text; None leaves the column as it is.
    """

    run_id: UUID
    claim_no: int
    write_no: int
    state: str | None = None
    progress: str | None = None
    move: Move | None = None
    logs: Sequence[LogRow] = ()
    levels: tuple[int, int, int, int] = field(default=(0, 0, 0, 0))

    @property
    def claim(self) -> Claim:
        """Which claim it is made under. A worker may write under two claims of one run at once, the older in vain."""
        return self.run_id, self.claim_no


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a write: whether it was accepted, and if so, how the run stands now."""

    accepted: bool
    status: TaskRunStatus | None = None
    abort_forced: bool = False


REFUSED = Recorded(accepted=False)


@cache
def recorded(status: str, *, forced: bool) -> Recorded:
    """The answer to an accepted write; there are few, so that each is made once."""
    return Recorded(True, TaskRunStatus(status), forced)


class Leases:
    """SQL of the worker's side on one connection."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    # Claiming.

    async def claim_rung(self, claimant: Claimant, run_ids: Sequence[UUID], claim_nos: Sequence[int]) -> list[Row]:
        """Claim those of the rung runs that are still due under that claim number, and of a definition without limits
        that the worker can execute.
        """
        arguments = (run_ids, claim_nos, claimant.unlimited_ids, claimant.owner, claimant.name)
        return await self._pipe.fetch(_CLAIM_RUNG, *arguments)

    async def claim_next(self, claimant: Claimant, queue: str, limit: int) -> list[Row]:
        """Claim the next due runs of a queue, in their order, without having been rung for them."""
        chosen = f"""
            SELECT r.id, r.due_at FROM task_runs r
            WHERE r.queue = $1 AND {sql.CLAIMABLE} AND r.definition_id = ANY($3::text[])
            ORDER BY r.priority DESC, r.due_at, r.id LIMIT $2 FOR UPDATE OF r SKIP LOCKED"""
        arguments = (queue, limit, claimant.definition_ids, claimant.owner, claimant.name)
        return await self._pipe.fetch(sql.claim(chosen, owner="$4", worker="$5"), *arguments)

    async def due_next(self, claimant: Claimant, queue: str, limit: int) -> list[Row]:
        """The next due runs of a queue, in their order: ``id, claim_no``."""
        query = f"""
            SELECT id, claim_no FROM task_runs r
            WHERE r.queue = $1 AND {sql.CLAIMABLE} AND r.definition_id = ANY($2::text[])
            ORDER BY r.priority DESC, r.due_at, r.id LIMIT $3"""
        return await self._pipe.fetch(query, queue, claimant.definition_ids, limit)

    async def of_definitions(self, run_ids: Sequence[UUID], definition_ids: Sequence[str]) -> list[Row]:
        """Which of the runs are of these definitions: ``id, definition_id``."""
        query = "SELECT id, definition_id FROM task_runs WHERE id = ANY($1::uuid[]) AND definition_id = ANY($2::text[])"
        return await self._pipe.fetch(query, run_ids, definition_ids)

    async def claimed_under(self, owner: UUID, run_ids: Sequence[UUID]) -> list[Row]:
        """Runs among these that this owner holds: what a claim brought whose reply was lost."""
        query = f"SELECT {sql.CLAIMED} FROM task_runs r WHERE id = ANY($1::uuid[]) AND lease_owner = $2"
        return await self._pipe.fetch(query, run_ids, owner)

    async def claimed_since(self, owner: UUID, moment: datetime) -> list[Row]:
        """Runs that this owner holds by claims made since a time of the database's clock."""
        query = f"SELECT {sql.CLAIMED} FROM task_runs r WHERE lease_owner = $1 AND claimed_at >= $2"
        return await self._pipe.fetch(query, owner, moment)

    async def now(self) -> datetime:
        """The time by the database's clock."""
        return await self._pipe.fetchval("SELECT now()")

    # Writing while the lease is held.

    async def save(self, owner: UUID, writes: Sequence[Write]) -> list[Row]:
        """Save state, progress and log counts of runs; returns claim and standing of those accepted."""
        return await self._pipe.fetch(sql.SAVE, owner, *_save_columns(writes)) if writes else []

    async def settle(self, owner: UUID, writes: Sequence[Write], max_interruptions: int) -> list[Row]:
        """Apply the moves that end attempts; returns status, parent and what a ring needs of those accepted."""
        if not writes:
            return []
        return await self._pipe.fetch(
            sql.SETTLE, owner, max_interruptions, *_move_columns(writes), *_save_columns(writes)
        )

    async def append_logs(self, rows: Sequence[LogRow]) -> None:
        """Store log lines; their numbers were fenced by the save or settlement in the same transaction."""
        for portion in _portions(rows):
            await self._pipe.copy_records_to_table("task_logs", records=portion, columns=LOG_COLUMNS)

    async def standing(self, run_ids: Sequence[UUID]) -> list[Row]:
        """How runs stand: what is needed to tell whether a write whose reply was lost was accepted."""
        columns = f"lease_owner, write_no, status, abort_forced, parent_id, definition_id, {LASTED}, {sql.RING}"
        return await self._pipe.fetch(f"SELECT {columns} FROM task_runs WHERE id = ANY($1::uuid[])", run_ids)

    async def aborting(self, owner: UUID) -> list[Row]:
        """Runs held by this owner that were asked to abort: ``id, abort_forced``."""
        query = "SELECT id, abort_forced FROM task_runs WHERE lease_owner = $1 AND status = 'ABORTING'"
        return await self._pipe.fetch(query, owner)

    async def put_off(self, owner: UUID, claims: Mapping[UUID, int], seconds: float) -> list[Row]:
        """Move the deadlines of those of the claims that this owner has; returns those whose runs are locked."""
        query = f"""
            WITH given AS (
                SELECT g.* FROM unnest($2::uuid[], $3::int[]) AS g(id, claim_no) JOIN task_runs r USING (id, claim_no)
                WHERE r.lease_owner = $1
            ), held AS (
                SELECT g.id FROM (SELECT * FROM given ORDER BY id) AS g
                CROSS JOIN LATERAL ({sql.locked("g.id", "claim_no, lease_owner", "SKIP LOCKED")}) AS r
                WHERE r.claim_no = g.claim_no AND r.lease_owner = $1
            ), moved AS (
                UPDATE task_runs r SET deadline_at = deadline_at + make_interval(secs => $4)
                FROM held WHERE r.id = held.id RETURNING r.id)
            SELECT id, claim_no FROM given WHERE id NOT IN (SELECT id FROM moved)"""
        return await self._pipe.fetch(query, owner, list(claims), list(claims.values()), seconds)

    # Dispatching: nobody holds these runs.

    async def make_due(self, move: Move, limit: int) -> list[Row]:
        """Queue the runs whose time has come, unless what they replace is still executed; returns what a ring needs."""
        chosen = f"""
            SELECT id FROM task_runs p WHERE status IN {sql.ASLEEP} AND due_at <= now() AND {sql.NOTHING_TO_WAIT_FOR}
            ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED"""
        return await self._pipe.fetch(sql.queue_up(chosen, move), move.landing.status.value, limit)

    async def expire_unstarted(self, move: Move, limit: int) -> list[Row]:
        """End the runs whose time to live passed before they started; returns how they stand."""
        query = f"""
            WITH chosen AS (
                SELECT id FROM task_runs WHERE expires_at <= now() AND status IN {statuses(move.sources)}
                AND started_at IS NULL LIMIT $3 FOR UPDATE SKIP LOCKED
            ), expired AS (
                UPDATE task_runs r SET status = $1, status_reason = $2, status_changed_at = now(), finished_at = now(),
                    due_at = NULL, parked = NULL
                FROM chosen WHERE r.id = chosen.id
                RETURNING r.id, r.parent_id, r.definition_id, r.status, r.unique_key, r.wait_for
            ), given_back AS ({unique_keys.give_back("expired")})
            SELECT id, parent_id, definition_id, status FROM expired"""
        return await self._pipe.fetch(query, move.landing.status.value, sql.value(move.landing.reason), limit)

    async def longest_due(self, claimant: Claimant, queue: str, age: float, limit: int) -> list[Row]:
        """The head of a queue, as far as it has been queued for ``age`` seconds: runs whose ring may have been lost.

        So may be that of a run which was queued in the future: whose trigger went by a wrong clock.
        """
        query = f"""
            SELECT {sql.RING} FROM task_runs WHERE {CLAIMABLE} AND queue = $1 AND definition_id = ANY($2::text[])
            AND status_changed_at NOT BETWEEN now() - make_interval(secs => $3) AND now()
            ORDER BY priority DESC, due_at, id LIMIT $4"""
        return await self._pipe.fetch(query, queue, claimant.definition_ids, age, limit)

    # Reaping: the holder is gone, or too late at ``now``, a time of the database's clock that the caller trusts. Each
    # statement re-checks what it acts upon.

    async def reap_expired_leases(
        self, claimant: Claimant, move: Move, max_interruptions: int, now: datetime
    ) -> list[Row]:
        """Take runs from workers whose lease is over; those that never had one included."""
        lease = f"w.id = r.lease_owner AND w.lease_expires_at > ${sql.FIRST_CONDITION_PARAMETER}"
        return await self._reap(
            claimant, move, max_interruptions, f"NOT EXISTS (SELECT FROM workers w WHERE {lease})", now
        )

    async def overruns(self, claimant: Claimant, late: datetime) -> list[Row]:
        """Attempts whose deadline was before ``late``, and which their worker did not end."""
        query = f"""
            SELECT id, claim_no, definition_id, attempt, max_attempts, retry::text AS retry FROM task_runs r
            WHERE r.status IN {sql.HELD} AND r.queue = ANY($1::text[]) AND r.definition_id = ANY($2::text[])
            AND r.deadline_at < $3 ORDER BY id LIMIT 1000"""
        return await self._pipe.fetch(query, claimant.queues, claimant.definition_ids, late)

    async def reap_overruns(self, claimant: Claimant, claims: Sequence[Claim], move: Move, late: datetime) -> list[Row]:
        """End these attempts, all by the same move."""
        first = sql.FIRST_CONDITION_PARAMETER
        claim_no = f"(${first + 1}::int[])[array_position(${first}, r.id)]"
        condition = f"r.id = ANY(${first}::uuid[]) AND r.claim_no = {claim_no} AND r.deadline_at < ${first + 2}"
        return await self._reap(claimant, move, 0, condition, *zip(*claims, strict=True), late)

    async def reap_aborts(
        self, claimant: Claimant, move: Move, now: datetime, *, grace: float, forced_grace: float
    ) -> list[Row]:
        """End aborts that their worker did not end within the grace time (seconds; a shorter one when forced)."""
        seconds = f"CASE WHEN r.abort_forced THEN {float(forced_grace)} ELSE {float(grace)} END"
        late = f"${sql.FIRST_CONDITION_PARAMETER}::timestamptz - make_interval(secs => {seconds})"
        return await self._reap(claimant, move, 0, f"r.status = 'ABORTING' AND r.abort_requested_at < {late}", now)

    async def reap_disowned(
        self, claimant: Claimant, move: Move, max_interruptions: int, running: Sequence[UUID], age: float
    ) -> list[Row]:
        """Give back the runs that the claimant holds by its rows, claimed ``age`` seconds ago, and does not execute."""
        first = sql.FIRST_CONDITION_PARAMETER
        condition = (
            f"r.lease_owner = ${first} AND r.id <> ALL(${first + 1}::uuid[]) "
            f"AND r.claimed_at < now() - make_interval(secs => ${first + 2})"
        )
        return await self._reap(claimant, move, max_interruptions, condition, claimant.owner, list(running), age)

    async def _reap(
        self, claimant: Claimant, move: Move, max_interruptions: int, condition: str, *extra: Any
    ) -> list[Row]:
        arguments = (claimant.queues, claimant.definition_ids, max_interruptions, *sql.reap_row(move), *extra)
        return await self._pipe.fetch(sql.reap(condition), *arguments)

    # The workers' rows.

    async def beat(
        self, claimant: Claimant, host: str, pid: int, capacity: int, running: int, draining: bool, lease: float
    ) -> datetime:
        """Register the worker or renew its lease by ``lease`` seconds; returns the database's time."""
        arguments = (claimant.owner, host, pid, claimant.queues, claimant.definition_ids, capacity)
        return await self._pipe.fetchval(sql.BEAT, *arguments, running, draining, lease)

    async def leave(self, owner: UUID) -> None:
        """Give up the lease; runs that the worker still holds become orphans at once."""
        await self._pipe.execute("DELETE FROM workers WHERE id = $1", owner)

    async def correct_leases(self) -> None:
        """Let leases that were given before the database's clock was put back end one lease from now.

        Who lives renews its own long before. Who is dead would hold its runs for as much longer as the clock went back.
        """
        query = """
            UPDATE workers SET last_seen_at = clock_timestamp(),
                lease_expires_at = clock_timestamp() + (lease_expires_at - last_seen_at)
            WHERE last_seen_at > clock_timestamp()"""
        await self._pipe.execute(query)

    async def forget_workers(self, seconds: float) -> None:
        """Remove the rows of workers that have been gone for so long."""
        query = "DELETE FROM workers WHERE lease_expires_at < now() - make_interval(secs => $1)"
        await self._pipe.execute(query, seconds)


def _portions(rows: Sequence[LogRow]) -> Iterator[list[LogRow]]:
    """The rows in their order, cut after every ``COPY_BYTES``."""
    portion: list[LogRow] = []
    size = 0
    for row in rows:
        portion.append(row)
        size += ROW_BYTES + len(row[5].encode()) + len((row[6] or "").encode())
        if size >= COPY_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _save_columns(writes: Sequence[Write]) -> tuple[Sequence[Any], ...]:
    return (
        [write.run_id for write in writes],
        [write.claim_no for write in writes],
        [write.write_no for write in writes],
        _packed([write.state for write in writes]),
        _packed([write.progress for write in writes]),
        *zip(*[write.levels for write in writes], strict=True),
    )


def _move_columns(writes: Sequence[Write]) -> tuple[Sequence[Any], ...]:
    """The rules that the moves follow, then the moves.

    Most runs of a batch land alike: the eleven columns of a rule travel once instead of with each of them.
    """
    numbers: dict[tuple[str, Landing], int] = {}
    rules: list[tuple[Any, ...]] = []
    rows: list[tuple[Any, ...]] = []
    for move in [write.move for write in writes if write.move]:
        rule = (move.name, move.landing)
        if rule not in numbers:
            rules.append(sql.rule_row(move))
            numbers[rule] = len(rules)
        rows.append(sql.move_row(move, numbers[rule]))
    return (*zip(*rules, strict=True), *map(_packed, zip(*rows, strict=True)))


def _packed(column: Sequence[Any]) -> Sequence[Any]:
    """A column as it travels: one of nothing but NULL is empty, because ``unnest`` fills shorter arrays up."""
    return [] if column.count(None) == len(column) else column
