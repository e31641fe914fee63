"""The SQL statements of ``app.leases``: one for each thing a worker does, each for a whole batch.

``Move.land`` in ``app.states`` is the rule that the ``CASE`` expressions here follow; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app import states
from app.db import json_text
from app.models import LASTED, statuses
from app.states import Landing, Move, RunError

HELD = statuses(states.HELD)
FINAL = statuses(states.FINAL)
ASLEEP = statuses(states.ASLEEP)

CLAIMED = """
    r.id, claim_no, write_no, definition_id, name, queue, priority, tags, input::text AS input, state::text AS state,
    iteration, max_iterations, attempt, max_attempts, timeout_seconds, log_count, parent_id, wait_for, failure_policy,
    created_by,
    retry::text AS retry
"""
RING = "id, claim_no, queue, priority, due_at, limit_key"
_RUNG = "r.id, claim_no, queue, priority, due_at, limit_key"
IN_TIME = "(r.expires_at IS NULL OR r.expires_at > now() OR r.started_at IS NOT NULL)"
CLAIMABLE = f"r.status = 'QUEUED' AND r.parked IS NULL AND {IN_TIME}"

NOTHING_TO_WAIT_FOR = f"""(p.wait_for IS NULL OR NOT EXISTS (
    SELECT FROM task_runs c WHERE c.id = ANY(p.wait_for) AND c.status NOT IN {FINAL}))"""


def locked(run_id: str, columns: str, if_locked: str = "") -> str:
    """Columns of one run by its id, locked. Joined laterally: a batch looks up each of its runs by the primary key.

    Without OFFSET other conditions would get inside, and the planner could take an index that finds all that is queued
    or held, over again for each run: time squared, whenever its statistics are older than a burst of runs.
    """
    return f"SELECT {columns} FROM task_runs WHERE id = {run_id} OFFSET 0 FOR UPDATE {if_locked}"


def as_seen(seen: str, condition: str) -> str:
    """The runs, as ``r``, that ``seen`` finds as ``id, claim_no``: locked, not claimed since, still of the condition.

    For questions about other rows than the run's own. A run may go on between what a statement sees and its lock; then
    PostgreSQL checks the run's own columns again, but sees the other rows as they were.
    """
    return f"""
        ({seen}) AS seen CROSS JOIN LATERAL ({locked("seen.id", "*", "SKIP LOCKED")}) AS r
        WHERE r.claim_no = seen.claim_no AND {condition}"""


def by_id(run_id: str) -> str:
    """The condition that joins a run to be updated, ``r``, to the id of another table, by the primary key in any plan.

    An equation would do, but for a plan that is kept from when the table was empty: then the planner would as soon read
    all of the primary key for each run, because that is in an order which a merge could use. (PostgreSQL 18,
    ``build_index_paths`` in src/backend/optimizer/path/indxpath.c: only equations make orders useful.)
    """
    return f"r.id = ANY(ARRAY[{run_id}])"


def claim(chosen: str, *, owner: str, worker: str, now: str = "now()", limit_key: str = "r.limit_key") -> str:
    """The claim of the runs that ``chosen`` selects and locks, as ``id, due_at``; of none while the lease is over.

    What a worker without a lease claimed, every reaper would take from it at once, while it begins to execute it.
    """
    return f"""
        WITH chosen AS ({chosen}), claimed AS (
            UPDATE task_runs r SET status = 'RUNNING', status_reason = NULL, status_changed_at = {now},
                claim_no = r.claim_no + 1, lease_owner = {owner}, worker = {worker}, claimed_at = {now},
                started_at = COALESCE(r.started_at, {now}), due_at = NULL, parked = NULL, limit_key = {limit_key},
                deadline_at = {now} + make_interval(secs => r.timeout_seconds)
            FROM chosen WHERE {by_id("chosen.id")}
                AND EXISTS (SELECT FROM workers WHERE workers.id = {owner} AND lease_expires_at > {now})
            RETURNING {CLAIMED}, chosen.due_at AS was_due, extract(epoch FROM {now} - chosen.due_at)::float8 AS waited)
        SELECT * FROM claimed ORDER BY priority DESC, was_due, id"""


def queue_up(chosen: str, move: Move) -> str:
    """The queueing, by a move with its status as ``$1``, of the runs that ``chosen`` selects and locks."""
    assert move.keeps_reason, "a run that becomes due goes on to say why it slept"
    return f"""
        WITH chosen AS ({chosen}), due AS (
            UPDATE task_runs r SET status = $1, status_changed_at = now(), due_at = COALESCE(r.due_at, now()),
                wait_for = NULL
            FROM chosen WHERE r.id = chosen.id RETURNING status, {_RUNG})
        SELECT * FROM due"""


SAVE_TYPES = ("uuid", "int", "int", "text", "text", "int", "int", "int", "int")
RULE_TYPES = ("text",) * 9 + ("bool", "bool")
"""What moves have in common with all others of their rule: where they land, and which counter they advance."""
MOVE_TYPES = ("int", "float8", "text", "text", "text", "text")
"""What a move has of its own: the number of its rule among those given, delay, output, error, children, policy."""

_REAPED_TYPES = (*RULE_TYPES, "float8", "text")
FIRST_CONDITION_PARAMETER = 4 + len(_REAPED_TYPES)


def _parameters(first: int, types: Sequence[str], suffix: str = "") -> str:
    """Numbered and typed parameters: ``$2::uuid[], $3::int[] …``."""
    return ", ".join(f"${first + n}::{kind}{suffix}" for n, kind in enumerate(types))


# The writes of ``given`` that count, with how their runs stand; locked in the order of ids, as everywhere.
_WAS = "r.status AS was, r.iteration AS was_iteration, r.attempt AS was_attempt, r.interruptions"
_STANDING = "claim_no, write_no, lease_owner, status, iteration, attempt, interruptions"
_STILL_HELD = f"""
    SELECT o.*, {_WAS} FROM (SELECT * FROM given ORDER BY id) AS o
    CROSS JOIN LATERAL ({locked("o.id", _STANDING)}) AS r
    WHERE r.claim_no = o.claim_no AND r.write_no = o.write_no AND r.lease_owner = $1 AND r.status IN {HELD}"""

SAVE = f"""
    WITH given AS (
        SELECT * FROM unnest({_parameters(2, SAVE_TYPES, "[]")})
            AS g(id, claim_no, write_no, state, progress, debug, info, warning, error)
    ), held AS ({_STILL_HELD})
    UPDATE task_runs r SET write_no = r.write_no + 1,
        state = CASE WHEN g.state IS NULL THEN r.state ELSE g.state::jsonb END,
        progress = CASE WHEN g.progress IS NULL THEN r.progress ELSE g.progress::jsonb END,
        log_count = r.log_count + g.debug + g.info + g.warning + g.error,
        log_debug = r.log_debug + g.debug, log_info = r.log_info + g.info,
        log_warning = r.log_warning + g.warning, log_error = r.log_error + g.error
    FROM held g WHERE {by_id("g.id")}
    RETURNING r.id, r.claim_no, r.status, r.abort_forced"""

_LANDING = """
    CASE WHEN g.was = 'ABORTING' AND g.aborting_status IS NOT NULL THEN {aborting}
         WHEN g.exhausted_status IS NOT NULL AND g.interruptions >= {max_interruptions} THEN {exhausted}
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
    finished_at = CASE WHEN l.to_status IN {FINAL} THEN now() END,
    due_at = CASE WHEN l.to_status IN ('QUEUED', 'WAITING') AND l.wait_for IS NULL
             THEN now() + make_interval(secs => l.delay) END,
    wait_for = CASE WHEN l.to_status = 'WAITING' THEN l.wait_for END,
    failure_policy = CASE WHEN l.next_iteration THEN l.failure_policy ELSE r.failure_policy END,
    error = l.error::jsonb,
    iteration = r.iteration + CASE WHEN l.next_iteration AND l.to_status NOT IN {FINAL} THEN 1 ELSE 0 END,
    attempt = CASE WHEN l.to_status IN {FINAL} THEN r.attempt WHEN l.next_iteration THEN 1
              WHEN l.next_attempt THEN r.attempt + 1 ELSE r.attempt END,
    interruptions = CASE WHEN l.next_iteration THEN 0
                    WHEN l.exhausted_status IS NOT NULL THEN r.interruptions + 1 ELSE r.interruptions END"""
_CLOSE = """
    INSERT INTO task_iterations (run_id, claim_no, number, attempt, worker, started_at, finished_at, outcome, error)
    SELECT id, claim_no, was_iteration, was_attempt, worker, claimed_at, status_changed_at, to_outcome, to_error::jsonb
    FROM moved"""
_RULE_NAMES = """status, reason, outcome, aborting_status, aborting_reason, aborting_outcome, exhausted_status,
    exhausted_reason, exhausted_outcome, next_iteration, next_attempt"""
# What is told about a run that was moved, besides what a closed iteration needs of it.
_MOVED = f"""r.status, r.status_changed_at, r.parent_id, r.definition_id, r.worker, r.claimed_at, l.to_outcome,
    l.error AS to_error, l.was_iteration, l.was_attempt, {LASTED}"""

SETTLE = f"""
    WITH rule AS (
        SELECT * FROM unnest({_parameters(3, RULE_TYPES, "[]")}) WITH ORDINALITY AS k({_RULE_NAMES}, rule)
    ), given AS (
        SELECT * FROM unnest(
            {_parameters(3 + len(RULE_TYPES), (*MOVE_TYPES, *SAVE_TYPES), "[]")}
        ) AS g(rule, delay, output, error, wait_for, failure_policy,
            id, claim_no, write_no, state, progress, debug, info, warning, log_error)
    ), landed AS (
        SELECT g.id, g.state, g.progress, g.debug, g.info, g.warning, g.log_error, g.delay, g.output, g.error,
            g.next_iteration, g.next_attempt, g.wait_for::uuid[] AS wait_for, g.failure_policy, g.exhausted_status,
            1 AS writes, g.was_iteration, g.was_attempt, {_landed("$2")}
        FROM (SELECT * FROM ({_STILL_HELD}) AS h JOIN rule USING (rule)) AS g
    ), moved AS (
        UPDATE task_runs r SET {_SETTLED}, output = l.output::jsonb,
            state = CASE WHEN l.state IS NULL THEN r.state ELSE l.state::jsonb END,
            progress = CASE WHEN l.progress IS NULL THEN r.progress ELSE l.progress::jsonb END,
            log_count = r.log_count + l.debug + l.info + l.warning + l.log_error,
            log_debug = r.log_debug + l.debug, log_info = r.log_info + l.info,
            log_warning = r.log_warning + l.warning, log_error = r.log_error + l.log_error
        FROM landed l WHERE {by_id("l.id")}
        RETURNING {_RUNG}, r.abort_forced, {_MOVED}
    ), closed AS ({_CLOSE})
    SELECT status, abort_forced, parent_id, definition_id, lasted, {RING} FROM moved"""


def reap(condition: str) -> str:
    """The move, without their worker's doing, of the held runs that meet a condition; its parameters come last."""
    seen = f"""
        SELECT r.id, r.claim_no FROM task_runs r
        WHERE r.status IN {HELD} AND r.queue = ANY($1::text[]) AND r.definition_id = ANY($2::text[])
        AND {condition} ORDER BY r.id LIMIT 1000"""
    return f"""
        WITH given({_RULE_NAMES}, delay, error) AS (VALUES ({_parameters(4, _REAPED_TYPES)})
        ), held AS (
            SELECT r.id, {_WAS} FROM {as_seen(seen, f"r.status IN {HELD} AND {condition}")}
        ), landed AS (
            SELECT g.id, g.delay, g.error, g.next_iteration, g.next_attempt, NULL::uuid[] AS wait_for,
                NULL::text AS failure_policy, g.exhausted_status, 0 AS writes, g.was_iteration, g.was_attempt,
                {_landed("$3")}
            FROM (SELECT * FROM given CROSS JOIN held) g
        ), moved AS (
            UPDATE task_runs r SET {_SETTLED} FROM landed l WHERE r.id = l.id RETURNING {_RUNG}, {_MOVED}
        ), closed AS ({_CLOSE})
        SELECT status, worker, parent_id, definition_id, was_iteration, was_attempt, lasted, {RING} FROM moved"""


# By the time at which the row is written: a heartbeat that was given up may land after the one that came instead, and
# must not take back what that one has told its worker.
BEAT = """
    INSERT INTO workers (id, host, pid, queues, definition_ids, capacity, running, is_draining, lease_expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(secs => $9))
    ON CONFLICT (id) DO UPDATE SET running = EXCLUDED.running, is_draining = EXCLUDED.is_draining,
        lease_expires_at = clock_timestamp() + make_interval(secs => $9), last_seen_at = now()
    RETURNING now()"""


def rule_row(move: Move) -> tuple[Any, ...]:
    """A move's rule as the parameters of ``RULE_TYPES``."""
    return (
        *_landing_row(move.landing),
        *_landing_row(move.when_aborting),
        *_landing_row(move.when_exhausted),
        move.next_iteration,
        move.next_attempt,
    )


def move_row(move: Move, rule: int) -> tuple[Any, ...]:
    """A move as the parameters of ``MOVE_TYPES``; ``rule`` is the number of its rule, from 1."""
    # PostgreSQL has no arrays of arrays of different lengths, so the children travel as the text of an array.
    wait_for = "{" + ",".join(str(child) for child in move.wait_for) + "}" if move.wait_for else None
    return (rule, move.delay, move.output, error_text(move.error), wait_for, value(move.failure_policy))


def reap_row(move: Move) -> tuple[Any, ...]:
    """A move as the parameters of ``reap``."""
    return (*rule_row(move), move.delay, error_text(move.error))


def _landing_row(landing: Landing | None) -> tuple[str | None, str | None, str | None]:
    if landing is None:
        return (None, None, None)
    return (landing.status.value, value(landing.reason), value(landing.outcome))


def value(member: Any) -> str | None:
    """An enum member's value, or None."""
    return None if member is None else member.value


def error_text(error: RunError | None) -> str | None:
    """An error as the JSON that rows keep."""
    if error is None:
        return None
    return json_text({"type": error.type, "message": error.message, "traceback": error.traceback})
