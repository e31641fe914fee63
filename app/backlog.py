"""How much work there is, asked so that it stays cheap with a million queued runs: bounded counts and index probes.

Runs that wait for a limit of their definition are in no queue but in ``depths``: no worker is to be added for their
sake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.db import Pipe
from app.models import CLAIMABLE, HELD_BACK, PARKED, statuses
from app.rollups import behind_seconds
from app.states import ASLEEP, HELD

COUNTED = 10_000
"""Counting stops here, for each queue; beyond it Redis knows the number of rings."""
MOST_QUEUES = 50
_MOST_PRIORITIES = 500

# From one queue to the next by index probes, and in each from one priority to the next. Each priority is headed by its
# oldest run, because the index task_runs_claimable is in the order (queue, priority DESC, due_at).
_NEXT_QUEUE = f"SELECT queue FROM task_runs WHERE {CLAIMABLE} {{behind}} ORDER BY queue LIMIT 1"
_NEXT_HEAD = f"""
    SELECT priority, due_at FROM task_runs WHERE {CLAIMABLE} AND queue = q.queue {{behind}}
    ORDER BY queue, priority DESC, due_at LIMIT 1"""
_QUEUES = f"""
    WITH RECURSIVE found(queue) AS (
        ({_NEXT_QUEUE.format(behind="")})
        UNION ALL
        SELECT next.queue FROM found f CROSS JOIN LATERAL ({_NEXT_QUEUE.format(behind="AND queue > f.queue")}) next
    ), queues AS (
        SELECT q.queue, (
            WITH RECURSIVE head(priority, due_at) AS (
                ({_NEXT_HEAD.format(behind="")})
                UNION ALL
                SELECT next.priority, next.due_at FROM head h
                CROSS JOIN LATERAL ({_NEXT_HEAD.format(behind="AND priority < h.priority")}) next)
            SELECT min(due_at) FROM (SELECT due_at FROM head LIMIT {_MOST_PRIORITIES}) heads) AS oldest
        FROM (SELECT queue FROM found LIMIT {MOST_QUEUES}) q)
    SELECT q.queue, greatest(0, extract(epoch FROM now() - q.oldest))::float8 AS oldest_seconds,
        (SELECT count(*) FROM (SELECT FROM task_runs r WHERE {CLAIMABLE} AND r.queue = q.queue
                               ORDER BY r.priority DESC, r.due_at LIMIT {COUNTED}) counted) AS queued
    FROM queues q ORDER BY q.queue"""
# Each part by an index that has nothing but such runs, in its order, and no further than it matters.
_DEPTHS = f"""
    SELECT q.queue, due.number + later.number AS depth FROM unnest($1::text[], $2::int[]) AS q(queue, most)
    CROSS JOIN LATERAL (SELECT count(*) AS number FROM (
        SELECT FROM task_runs WHERE {CLAIMABLE} AND queue = q.queue ORDER BY priority DESC, due_at LIMIT q.most
    ) AS counted) AS due
    CROSS JOIN LATERAL (SELECT count(*) AS number FROM (
        SELECT FROM task_runs WHERE ({HELD_BACK}) AND queue = q.queue LIMIT q.most) AS counted
    ) AS later"""
_MOVING = f"""
    SELECT (SELECT count(*) FROM (SELECT FROM task_runs WHERE status IN {statuses(HELD)} LIMIT {COUNTED}) h) AS held,
        (SELECT count(*) FROM (SELECT FROM task_runs WHERE status IN {statuses(ASLEEP)} LIMIT {COUNTED}) a) AS asleep,
        (SELECT count(*) FROM (SELECT FROM task_runs WHERE {PARKED} ORDER BY definition_id, limit_key
                               LIMIT {COUNTED}) l) AS limited,
        (SELECT count(*) FROM workers WHERE lease_expires_at > now() AND NOT is_draining) AS taking,
        (SELECT count(*) FROM workers WHERE lease_expires_at > now() AND is_draining) AS draining"""
# How far the dispatcher is behind: the run that should have been woken longest ago.
_OVERDUE = f"""
    SELECT greatest(0, extract(epoch FROM now() - min(due_at)))::float8
    FROM task_runs WHERE status IN {statuses(ASLEEP)} AND wait_for IS NULL"""


@dataclass(frozen=True, slots=True)
class Queue:
    """The due runs of one queue: how many (no more than ``COUNTED`` are counted), and since when the oldest is due."""

    name: str
    queued: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """The queues that have due runs, how many runs are held, asleep and limited (all bounded), and the live workers.

    ``limited`` are runs that wait for a limit of their definition. ``uncounted_seconds`` is for how long the statistics
    have been owing a run that finished.
    """

    queues: tuple[Queue, ...]
    held: int
    asleep: int
    overdue_seconds: float
    taking_workers: int
    draining_workers: int
    uncounted_seconds: float = 0.0
    limited: int = 0


async def depths(pipe: Pipe, most: Mapping[str, int]) -> dict[str, int]:
    """How many runs wait in each of these queues to be executed, those that wait for a limit or a time included.

    Counting stops soon behind the number that comes with a queue. Runs that have started and sleep are not among them.
    """
    rows = await pipe.fetch(_DEPTHS, list(most), [number + 1 for number in most.values()])
    return {row["queue"]: row["depth"] for row in rows}


async def depth(pipe: Pipe, queue: str, most: int) -> int:
    """``depths`` of one queue."""
    return (await depths(pipe, {queue: most}))[queue]


async def queues(pipe: Pipe) -> list[Queue]:
    """The queues that have due runs, up to ``MOST_QUEUES`` of them."""
    rows = await pipe.fetch(_QUEUES)
    return [Queue(row["queue"], row["queued"], row["oldest_seconds"]) for row in rows]


async def backlog(pipe: Pipe) -> Backlog:
    """All of it."""
    found = await pipe.fetchrow(_MOVING)
    assert found is not None
    overdue: float = await pipe.fetchval(_OVERDUE) or 0.0
    counts = (found["held"], found["asleep"], overdue, found["taking"], found["draining"])
    return Backlog(tuple(await queues(pipe)), *counts, await behind_seconds(pipe), found["limited"])
