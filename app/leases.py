"""The worker's side of the SQL: claims, fenced writes, settlements, due runs, expired leases, and the workers' rows.

Every statement takes a batch and decides in one go. A write counts only while the run is still held under the same
claim by the same worker, and after exactly the writes that the worker knows of (``write_no``); no row back means that
somebody else decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from app.db import Pipe, Row, json_text
from app.models import statuses
from app.states import ASLEEP, FINAL, HELD, Landing, Move, RunError, TaskRunStatus

_HELD = statuses(HELD)
_FINAL = statuses(FINAL)
_ASLEEP = statuses(ASLEEP)

LOG_COLUMNS = ("run_id", "sequence", "iteration", "attempt", "level", "message", "data", "created_at")
LogRow = tuple[UUID, int, int, int, str, str, str | None, datetime]

_CLAIMED = """
    id, claim_no, write_no, definition_id, name, queue, priority, tags, input::text AS input, state::text AS state,
    iteration, max_iterations, attempt, max_attempts, timeout_seconds, log_count, parent_id, wait_for, created_by
"""
_RING = "id, claim_no, queue, priority, due_at"


@dataclass(frozen=True, slots=True)
class Claimant:
    """The worker that claims: its lease owner id, the name that people see, and what it can execute."""

    owner: UUID
    name: str
    queues: tuple[str, ...]
    definition_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
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


def error_text(error: RunError | None) -> str | None:
    """An error as the JSON that rows keep."""
    if error is None:
        return None
    return json_text({"type": error.type, "message": error.message, "traceback": error.traceback})


class Leases:
    """SQL of the worker's side on one connection."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    # Claiming.

    async def claim_rung(self, claimant: Claimant, run_ids: Sequence[UUID], claim_nos: Sequence[int]) -> list[Row]:
        """Claim those of the rung runs that are still due under that claim number and that the worker can execute."""
        chosen = f"""
            SELECT r.id FROM unnest($1::uuid[], $2::int[]) AS rung(id, claim_no)
            JOIN task_runs r ON r.id = rung.id AND r.claim_no = rung.claim_no
            WHERE {_CLAIMABLE} AND r.definition_id = ANY($3::text[])
            ORDER BY r.id FOR UPDATE OF r SKIP LOCKED"""
        arguments = (run_ids, claim_nos, claimant.definition_ids, claimant.owner, claimant.name)
        return await self._pipe.fetch(_claim(chosen, owner="$4", worker="$5"), *arguments)

    async def claim_next(self, claimant: Claimant, queue: str, limit: int) -> list[Row]:
        """Claim the next due runs of a queue, in their order, without having been rung for them."""
        chosen = f"""
            SELECT r.id FROM task_runs r
            WHERE r.queue = $1 AND {_CLAIMABLE} AND r.definition_id = ANY($3::text[])
            ORDER BY r.priority DESC, r.due_at, r.id LIMIT $2 FOR UPDATE OF r SKIP LOCKED"""
        arguments = (queue, limit, claimant.definition_ids, claimant.owner, claimant.name)
        return await self._pipe.fetch(_claim(chosen, owner="$4", worker="$5"), *arguments)

    async def claimed_under(self, owner: UUID, run_ids: Sequence[UUID]) -> list[Row]:
        """Runs among these that this owner holds: what a claim brought whose reply was lost."""
        query = f"SELECT {_CLAIMED} FROM task_runs WHERE id = ANY($1::uuid[]) AND lease_owner = $2"
        return await self._pipe.fetch(query, run_ids, owner)

    # Writing while the lease is held.

    async def save(self, owner: UUID, writes: Sequence[Write]) -> list[Row]:
        """Save state, progress and log counts of runs; returns ``id, status, abort_forced`` of those accepted."""
        return await self._pipe.fetch(_SAVE, owner, *_save_columns(writes)) if writes else []

    async def settle(self, owner: UUID, writes: Sequence[Write], max_interruptions: int) -> list[Row]:
        """Apply the moves that end attempts; returns status, parent and what a ring needs of those accepted."""
        if not writes:
            return []
        return await self._pipe.fetch(_SETTLE, owner, max_interruptions, *_save_columns(writes), *_move_columns(writes))

    async def append_logs(self, rows: Sequence[LogRow]) -> None:
        """Store log lines; their numbers were fenced by the save or settlement in the same transaction."""
        if rows:
            await self._pipe.copy_records_to_table("task_logs", records=rows, columns=LOG_COLUMNS)

    async def standing(self, run_ids: Sequence[UUID]) -> list[Row]:
        """How runs stand: what is needed to tell whether a write whose reply was lost was accepted."""
        query = f"SELECT lease_owner, write_no, status, abort_forced, parent_id, {_RING} FROM task_runs"
        return await self._pipe.fetch(query + " WHERE id = ANY($1::uuid[])", run_ids)

    async def aborting(self, owner: UUID) -> list[Row]:
        """Runs held by this owner that were asked to abort: ``id, abort_forced``."""
        query = "SELECT id, abort_forced FROM task_runs WHERE lease_owner = $1 AND status = 'ABORTING'"
        return await self._pipe.fetch(query, owner)

    # Dispatching: nobody holds these runs.

    async def make_due(self, move: Move, limit: int) -> list[Row]:
        """Queue the runs whose time has come; returns what a ring needs."""
        chosen = f"""
            SELECT id FROM task_runs WHERE status IN {_ASLEEP} AND due_at <= now()
            ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED"""
        return await self._pipe.fetch(_queue(chosen), move.landing.status.value, limit)

    async def make_parents_due(self, move: Move, limit: int, parent_ids: Sequence[UUID] | None = None) -> list[Row]:
        """Queue the runs that waited for children which are all final now (among ``parent_ids``, where given)."""
        chosen = f"""
            SELECT id FROM task_runs p
            WHERE status = 'WAITING' AND due_at IS NULL AND ($3::uuid[] IS NULL OR id = ANY($3::uuid[]))
            AND NOT EXISTS (SELECT FROM task_runs c WHERE c.id = ANY(p.wait_for) AND c.status NOT IN {_FINAL})
            LIMIT $2 FOR UPDATE SKIP LOCKED"""
        return await self._pipe.fetch(_queue(chosen), move.landing.status.value, limit, parent_ids)

    async def expire_unstarted(self, move: Move, limit: int) -> list[Row]:
        """End the runs whose time to live passed before they started; returns ``id, parent_id``."""
        query = f"""
            WITH chosen AS (
                SELECT id FROM task_runs WHERE expires_at <= now() AND status IN {statuses(move.sources)}
                AND started_at IS NULL LIMIT $3 FOR UPDATE SKIP LOCKED)
            UPDATE task_runs r SET status = $1, status_reason = $2, status_changed_at = now(), finished_at = now(),
                due_at = NULL
            FROM chosen WHERE r.id = chosen.id RETURNING r.id, r.parent_id"""
        return await self._pipe.fetch(query, move.landing.status.value, _value(move.landing.reason), limit)

    async def longest_due(self, claimant: Claimant, queue: str, age: float, limit: int) -> list[Row]:
        """The head of a queue, as far as it has been queued for ``age`` seconds: runs whose ring may have been lost."""
        query = f"""
            SELECT {_RING} FROM task_runs WHERE status = 'QUEUED' AND queue = $1 AND definition_id = ANY($2::text[])
            AND status_changed_at < now() - make_interval(secs => $3) ORDER BY priority DESC, due_at, id LIMIT $4"""
        return await self._pipe.fetch(query, queue, claimant.definition_ids, age, limit)

    # Reaping: the holder is gone, or too late. Each statement re-checks what it acts upon.

    async def reap_expired_leases(self, claimant: Claimant, move: Move, max_interruptions: int) -> list[Row]:
        """Take runs from workers whose lease is over; those that never had one included."""
        condition = "NOT EXISTS (SELECT FROM workers w WHERE w.id = r.lease_owner AND w.lease_expires_at > now())"
        return await self._reap(claimant, move, max_interruptions, condition)

    async def reap_overruns(self, claimant: Claimant, move: Move, *, attempts_left: bool, margin: float) -> list[Row]:
        """End attempts that their worker did not end within ``margin`` seconds after their deadline."""
        attempts = "r.attempt < r.max_attempts" if attempts_left else "r.attempt >= r.max_attempts"
        condition = f"r.deadline_at < now() - make_interval(secs => {float(margin)}) AND {attempts}"
        return await self._reap(claimant, move, 0, condition)

    async def reap_aborts(self, claimant: Claimant, move: Move, *, grace: float, forced_grace: float) -> list[Row]:
        """End aborts that their worker did not end within the grace time (seconds; a shorter one when forced)."""
        seconds = f"CASE WHEN r.abort_forced THEN {float(forced_grace)} ELSE {float(grace)} END"
        condition = f"r.status = 'ABORTING' AND r.abort_requested_at < now() - make_interval(secs => {seconds})"
        return await self._reap(claimant, move, 0, condition)

    async def reap_disowned(
        self, claimant: Claimant, move: Move, max_interruptions: int, running: Sequence[UUID], age: float
    ) -> list[Row]:
        """Give back the runs that the claimant holds by its rows, claimed ``age`` seconds ago, and does not execute."""
        first = _FIRST_CONDITION_PARAMETER
        condition = (
            f"r.lease_owner = ${first} AND r.id <> ALL(${first + 1}::uuid[]) "
            f"AND r.claimed_at < now() - make_interval(secs => ${first + 2})"
        )
        return await self._reap(claimant, move, max_interruptions, condition, claimant.owner, list(running), age)

    async def _reap(
        self, claimant: Claimant, move: Move, max_interruptions: int, condition: str, *extra: Any
    ) -> list[Row]:
        arguments = (claimant.queues, claimant.definition_ids, max_interruptions, *_move_row(move), *extra)
        return await self._pipe.fetch(_reap(condition), *arguments)

    # The workers' rows.

    async def beat(
        self, claimant: Claimant, host: str, pid: int, capacity: int, running: int, draining: bool, lease: float
    ) -> datetime:
        """Register the worker or renew its lease by ``lease`` seconds; returns the database's time."""
        arguments = (claimant.owner, host, pid, claimant.queues, claimant.definition_ids, capacity)
        return await self._pipe.fetchval(_BEAT, *arguments, running, draining, lease)

    async def leave(self, owner: UUID) -> None:
        """Give up the lease; runs that the worker still holds become orphans at once."""
        await self._pipe.execute("DELETE FROM workers WHERE id = $1", owner)

    async def forget_workers(self, seconds: float) -> None:
        """Remove the rows of workers that have been gone for so long."""
        query = "DELETE FROM workers WHERE lease_expires_at < now() - make_interval(secs => $1)"
        await self._pipe.execute(query, seconds)


_CLAIMABLE = "r.status = 'QUEUED' AND (r.expires_at IS NULL OR r.expires_at > now() OR r.started_at IS NOT NULL)"


def _claim(chosen: str, *, owner: str, worker: str) -> str:
    return f"""
        WITH chosen AS ({chosen}), claimed AS (
            UPDATE task_runs r SET status = 'RUNNING', status_reason = NULL, status_changed_at = now(),
                claim_no = r.claim_no + 1, lease_owner = {owner}, worker = {worker}, claimed_at = now(),
                started_at = COALESCE(r.started_at, now()), due_at = NULL,
                deadline_at = now() + make_interval(secs => r.timeout_seconds)
            FROM chosen WHERE r.id = chosen.id
            RETURNING r.*)
        SELECT {_CLAIMED} FROM claimed ORDER BY priority DESC, start_at, id"""


def _queue(chosen: str) -> str:
    return f"""
        WITH chosen AS ({chosen}), due AS (
            UPDATE task_runs r SET status = $1, status_changed_at = now(), due_at = COALESCE(r.due_at, now()),
                wait_for = NULL
            FROM chosen WHERE r.id = chosen.id RETURNING r.*)
        SELECT status, {_RING} FROM due"""


_SAVE_TYPES = ("uuid", "int", "int", "text", "text", "int", "int", "int", "int")
_MOVE_TYPES = ("text",) * 9 + ("float8", "text", "text", "bool", "bool", "text")

_FIRST_CONDITION_PARAMETER = 4 + len(_MOVE_TYPES)


def _parameters(first: int, types: Sequence[str], suffix: str = "") -> str:
    """Numbered and typed parameters: ``$2::uuid[], $3::int[] …``."""
    return ", ".join(f"${first + n}::{kind}{suffix}" for n, kind in enumerate(types))


_SAVE = f"""
    UPDATE task_runs r SET write_no = r.write_no + 1,
        state = CASE WHEN g.state IS NULL THEN r.state ELSE g.state::jsonb END,
        progress = CASE WHEN g.progress IS NULL THEN r.progress ELSE g.progress::jsonb END,
        log_count = r.log_count + g.debug + g.info + g.warning + g.error,
        log_debug = r.log_debug + g.debug, log_info = r.log_info + g.info,
        log_warning = r.log_warning + g.warning, log_error = r.log_error + g.error
    FROM unnest({_parameters(2, _SAVE_TYPES, "[]")})
        AS g(id, claim_no, write_no, state, progress, debug, info, warning, error)
    WHERE r.id = g.id AND r.claim_no = g.claim_no AND r.write_no = g.write_no AND r.lease_owner = $1
        AND r.status IN {_HELD}
    RETURNING r.id, r.status, r.abort_forced"""

_LANDING = """
    CASE WHEN h.was = 'ABORTING' AND g.aborting_status IS NOT NULL THEN {aborting}
         WHEN g.exhausted_status IS NOT NULL AND h.interruptions >= {max_interruptions} THEN {exhausted}
         ELSE {normal} END"""


def _landing(column: str, max_interruptions: str) -> str:
    """The rule of ``Move.land`` in SQL, for one of the columns status, reason and outcome."""
    return _LANDING.format(
        aborting=f"g.aborting_{column}",
        exhausted=f"g.exhausted_{column}",
        normal=f"g.{column}",
        max_interruptions=max_interruptions,
    )


def _landed(max_interruptions: str) -> str:
    columns = ("status", "reason", "outcome")
    return ", ".join(f"{_landing(column, max_interruptions)} AS to_{column}" for column in columns)


# What a settlement changes beside the status; ``l`` is the landed row.
_SETTLED = f"""
    status = l.to_status, status_reason = l.to_reason, status_changed_at = now(), lease_owner = NULL,
    deadline_at = NULL, write_no = r.write_no + l.writes,
    finished_at = CASE WHEN l.to_status IN {_FINAL} THEN now() END,
    due_at = CASE WHEN l.to_status IN ('QUEUED', 'WAITING') AND l.wait_for IS NULL
             THEN now() + make_interval(secs => l.delay) END,
    wait_for = CASE WHEN l.to_status = 'WAITING' THEN l.wait_for END,
    error = l.error::jsonb,
    iteration = r.iteration + CASE WHEN l.next_iteration AND l.to_status NOT IN {_FINAL} THEN 1 ELSE 0 END,
    attempt = CASE WHEN l.to_status IN {_FINAL} THEN r.attempt WHEN l.next_iteration THEN 1
              WHEN l.next_attempt THEN r.attempt + 1 ELSE r.attempt END,
    interruptions = CASE WHEN l.next_iteration THEN 0
                    WHEN l.exhausted_status IS NOT NULL THEN r.interruptions + 1 ELSE r.interruptions END"""
_CLOSE = """
    INSERT INTO task_iterations (run_id, claim_no, number, attempt, worker, started_at, finished_at, outcome, error)
    SELECT id, claim_no, was_iteration, was_attempt, worker, claimed_at, status_changed_at, to_outcome, to_error::jsonb
    FROM moved"""
_MOVE_NAMES = """status, reason, outcome, aborting_status, aborting_reason, aborting_outcome, exhausted_status,
    exhausted_reason, exhausted_outcome, delay, output, error, next_iteration, next_attempt, wait_for"""
_WAS = "r.status AS was, r.iteration AS was_iteration, r.attempt AS was_attempt, r.interruptions"

_SETTLE = f"""
    WITH given AS (
        SELECT * FROM unnest(
            {_parameters(3, (*_SAVE_TYPES, *_MOVE_TYPES), "[]")}
        ) AS g(id, claim_no, write_no, state, progress, debug, info, warning, log_error, {_MOVE_NAMES})
    ), held AS (
        SELECT r.id, {_WAS} FROM task_runs r JOIN given g ON r.id = g.id
        WHERE r.claim_no = g.claim_no AND r.write_no = g.write_no AND r.lease_owner = $1 AND r.status IN {_HELD}
        ORDER BY r.id FOR UPDATE OF r
    ), landed AS (
        SELECT g.id, g.state, g.progress, g.debug, g.info, g.warning, g.log_error, g.delay, g.output, g.error,
            g.next_iteration, g.next_attempt, g.wait_for::uuid[] AS wait_for, g.exhausted_status, 1 AS writes,
            h.was_iteration, h.was_attempt, {_landed("$2")}
        FROM given g JOIN held h ON h.id = g.id
    ), moved AS (
        UPDATE task_runs r SET {_SETTLED}, output = l.output::jsonb,
            state = CASE WHEN l.state IS NULL THEN r.state ELSE l.state::jsonb END,
            progress = CASE WHEN l.progress IS NULL THEN r.progress ELSE l.progress::jsonb END,
            log_count = r.log_count + l.debug + l.info + l.warning + l.log_error,
            log_debug = r.log_debug + l.debug, log_info = r.log_info + l.info,
            log_warning = r.log_warning + l.warning, log_error = r.log_error + l.log_error
        FROM landed l WHERE r.id = l.id
        RETURNING r.*, l.to_outcome, l.error AS to_error, l.was_iteration, l.was_attempt
    ), closed AS ({_CLOSE})
    SELECT status, abort_forced, parent_id, {_RING} FROM moved"""


def _reap(condition: str) -> str:
    return f"""
        WITH given({_MOVE_NAMES}) AS (VALUES ({_parameters(4, _MOVE_TYPES)})
        ), held AS (
            SELECT r.id, {_WAS} FROM task_runs r
            WHERE r.status IN {_HELD} AND r.queue = ANY($1::text[]) AND r.definition_id = ANY($2::text[])
            AND {condition} ORDER BY r.id LIMIT 1000 FOR UPDATE OF r SKIP LOCKED
        ), landed AS (
            SELECT h.id, g.delay, g.error, g.next_iteration, g.next_attempt, g.wait_for::uuid[] AS wait_for,
                g.exhausted_status, 0 AS writes, h.was_iteration, h.was_attempt, {_landed("$3")}
            FROM given g CROSS JOIN held h
        ), moved AS (
            UPDATE task_runs r SET {_SETTLED} FROM landed l WHERE r.id = l.id
            RETURNING r.*, l.to_outcome, l.error AS to_error, l.was_iteration, l.was_attempt
        ), closed AS ({_CLOSE})
        SELECT status, worker, parent_id, {_RING} FROM moved"""


_BEAT = """
    INSERT INTO workers (id, host, pid, queues, definition_ids, capacity, running, is_draining, lease_expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(secs => $9))
    ON CONFLICT (id) DO UPDATE SET running = EXCLUDED.running, is_draining = EXCLUDED.is_draining,
        lease_expires_at = EXCLUDED.lease_expires_at, last_seen_at = now()
    RETURNING now()"""


def _save_columns(writes: Sequence[Write]) -> tuple[list[Any], ...]:
    return (
        [write.run_id for write in writes],
        [write.claim_no for write in writes],
        [write.write_no for write in writes],
        [write.state for write in writes],
        [write.progress for write in writes],
        *([write.levels[level] for write in writes] for level in range(4)),
    )


def _move_columns(writes: Sequence[Write]) -> list[list[Any]]:
    rows = [_move_row(write.move) for write in writes if write.move]
    return [list(column) for column in zip(*rows, strict=True)]


def _move_row(move: Move) -> tuple[Any, ...]:
    # PostgreSQL has no arrays of arrays of different lengths, so the children travel as the text of an array.
    wait_for = "{" + ",".join(str(child) for child in move.wait_for) + "}" if move.wait_for else None
    return (
        *_landing_row(move.landing),
        *_landing_row(move.when_aborting),
        *_landing_row(move.when_exhausted),
        move.delay,
        move.output,
        error_text(move.error),
        move.next_iteration,
        move.next_attempt,
        wait_for,
    )


def _landing_row(landing: Landing | None) -> tuple[str | None, str | None, str | None]:
    if landing is None:
        return (None, None, None)
    return (landing.status.value, _value(landing.reason), _value(landing.outcome))


def _value(member: Any) -> str | None:
    return None if member is None else member.value


def is_final(status: str) -> bool:
    """Whether a status read from a row is final."""
    return TaskRunStatus(status) in FINAL
