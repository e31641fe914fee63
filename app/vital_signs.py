"""All SQL that looks at how an installation is: its clock, its workers, its queues, its leases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from app.db import Pipe
from app.doorbell import Ring


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker whose lease holds, and how long ago it was last renewed."""

    name: str
    queues: tuple[str, ...]
    definition_ids: frozenset[str]
    running: int
    capacity: int
    is_draining: bool
    silent_seconds: float


@dataclass(frozen=True, slots=True)
class StuckRun:
    """A run that is held by a worker whose lease is over, and for how long it has been."""

    run_id: UUID
    worker: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Published:
    """A published definition, and how many runs of it are due."""

    definition_id: str
    queue: str
    queued: int


class VitalSigns:
    """Reads them over one connection."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def version(self) -> str:
        """The version of PostgreSQL."""
        return cast(str, await self._pipe.fetchval("SHOW server_version"))

    async def now(self) -> datetime:
        """The time by the database's clock."""
        return await self._pipe.fetchval("SELECT clock_timestamp()")

    async def workers(self) -> list[LiveWorker]:
        """The live workers, the oldest first."""
        rows = await self._pipe.fetch(
            """
            SELECT host || ':' || pid AS name, queues, definition_ids, running, capacity, is_draining,
                   greatest(0, extract(epoch FROM now() - last_seen_at))::float8 AS silent_seconds
            FROM workers WHERE lease_expires_at > now() ORDER BY started_at, id
            """
        )
        return [
            LiveWorker(
                row["name"],
                tuple(row["queues"]),
                frozenset(row["definition_ids"]),
                row["running"],
                row["capacity"],
                row["is_draining"],
                row["silent_seconds"],
            )
            for row in rows
        ]

    async def stuck_runs(self, limit: int = 1000) -> list[StuckRun]:
        """Runs that dead workers hold, those dead for longest first."""
        rows = await self._pipe.fetch(
            """
            SELECT r.id, coalesce(r.worker, 'unknown') AS worker,
                   extract(epoch FROM now() - coalesce(w.lease_expires_at, r.claimed_at, now()))::float8 AS seconds
            FROM task_runs r LEFT JOIN workers w ON w.id = r.lease_owner
            WHERE r.lease_owner IS NOT NULL AND coalesce(w.lease_expires_at, '-infinity') <= now()
            ORDER BY seconds DESC LIMIT $1
            """,
            limit,
        )
        return [StuckRun(row["id"], row["worker"], row["seconds"]) for row in rows]

    async def due_rings(self, seconds: float, limit: int = 10_000) -> list[Ring]:
        """The rings that there should be: of runs that have been due for so many seconds, the next ones first."""
        rows = await self._pipe.fetch(
            """
            SELECT id, claim_no, queue, priority, due_at FROM task_runs
            WHERE status = 'QUEUED' AND status_changed_at < now() - make_interval(secs => $1)
            ORDER BY priority DESC, due_at LIMIT $2
            """,
            seconds,
            limit,
        )
        return [Ring(row["id"], row["claim_no"], row["queue"], row["priority"], row["due_at"]) for row in rows]

    async def published(self) -> list[Published]:
        """The definitions, with how many runs of each are due."""
        rows = await self._pipe.fetch(
            """
            SELECT d.id, d.queue,
                   (SELECT count(*) FROM task_runs r WHERE r.definition_id = d.id AND r.status = 'QUEUED') AS queued
            FROM task_definitions d ORDER BY d.id
            """
        )
        return [Published(row["id"], row["queue"], row["queued"]) for row in rows]
