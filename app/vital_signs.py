"""All SQL that looks at how an installation is: its clock, its workers, its queues, its leases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from app.db import Pipe
from app.doorbell import Ring, ring_of
from app.models import CLAIMABLE


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
    """A run that is held by a worker whose lease is over, and for how long it has been; and who could take it over."""

    run_id: UUID
    worker: str
    seconds: float
    definition_id: str
    queue: str


@dataclass(frozen=True, slots=True)
class Published:
    """A published definition in a queue, and how many of the due runs that were looked at are of it and in there."""

    definition_id: str
    queue: str
    queued: int
    is_private: bool = False


@dataclass(frozen=True, slots=True)
class OldTransaction:
    """A transaction, whatever holds it, that keeps vacuum from removing rows that died since it began.

    ``seconds`` is None where it is another role's, and PostgreSQL does not tell this one since when it is open.
    """

    what: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class TableWaste:
    """Live and dead rows of a table, by PostgreSQL's estimate, and whether autovacuum looks after it."""

    name: str
    live: int
    dead: int
    autovacuum: bool


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

    async def put_back_seconds(self) -> float:
        """For how long PostgreSQL's clock will tell times that it has told before: it was put back; 0 as a rule."""
        query = """
            SELECT greatest(0, extract(epoch FROM max(told) - clock_timestamp()))::float8
            FROM (SELECT moved_at FROM rollup_mark UNION ALL SELECT last_seen_at FROM workers) AS known(told)"""
        return await self._pipe.fetchval(query)

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
            SELECT r.id, coalesce(r.worker, 'unknown') AS worker, r.definition_id, r.queue,
                   extract(epoch FROM now() - coalesce(w.lease_expires_at, r.claimed_at, now()))::float8 AS seconds
            FROM task_runs r LEFT JOIN workers w ON w.id = r.lease_owner
            WHERE r.lease_owner IS NOT NULL AND coalesce(w.lease_expires_at, '-infinity') <= now()
            ORDER BY seconds DESC LIMIT $1
            """,
            limit,
        )
        return [StuckRun(row["id"], row["worker"], row["seconds"], row["definition_id"], row["queue"]) for row in rows]

    async def waits(self, limit: int = 10_000) -> dict[UUID, list[UUID]]:
        """For which runs that wait for others the runs wait that wait for others; no more than these are looked at."""
        rows = await self._pipe.fetch(
            """
            WITH waiting AS MATERIALIZED (
                SELECT id, wait_for FROM task_runs WHERE status = 'WAITING' AND due_at IS NULL LIMIT $1)
            SELECT w.id, array_agg(other.id) AS others
            FROM waiting w CROSS JOIN LATERAL unnest(w.wait_for) AS wanted(id)
            JOIN waiting other ON other.id = wanted.id GROUP BY w.id
            """,
            limit,
        )
        return {row["id"]: row["others"] for row in rows}

    async def due_rings(self, seconds: float, limit: int = 10_000) -> list[Ring]:
        """The rings that there should be: of runs that have been due for so many seconds, the next ones first."""
        rows = await self._pipe.fetch(
            f"""
            SELECT id, claim_no, queue, priority, due_at FROM task_runs
            WHERE {CLAIMABLE} AND status_changed_at < now() - make_interval(secs => $1)
            ORDER BY priority DESC, due_at LIMIT $2
            """,
            seconds,
            limit,
        )
        return [ring_of(row) for row in rows]

    async def published(self) -> list[Published]:
        """The definitions, each in its own queue and in those in which runs of it are due.

        No more than 100,000 runs are looked at.
        """
        rows = await self._pipe.fetch(
            """
            SELECT d.id, place.queue, d.is_private, sum(place.runs) AS queued FROM task_definitions d JOIN (
                SELECT id, queue, 0 AS runs FROM task_definitions
                UNION ALL
                (SELECT definition_id, queue, 1 FROM task_runs WHERE status = 'QUEUED' LIMIT 100000)
            ) AS place ON place.id = d.id
            GROUP BY d.id, place.queue ORDER BY d.id, place.queue
            """
        )
        return [Published(row["id"], row["queue"], row["queued"], row["is_private"]) for row in rows]

    async def old_transactions(self, seconds: float = 60.0) -> list[OldTransaction]:
        """What has held back vacuum for so many seconds and more, the oldest first; then what may have.

        Of this database alone: transactions of others hold back vacuum in the catalogs that all of them share.
        """
        rows = await self._pipe.fetch(
            """
            SELECT what, extract(epoch FROM now() - since)::float8 AS seconds FROM (
                SELECT 'pid ' || pid || ' of ' || coalesce(nullif(application_name, ''), usename, 'somebody')
                    || ', ' || coalesce(state, 'active') AS what, xact_start AS since, datname AS database,
                    usesysid IS NOT NULL AND query = '<insufficient privilege>' AS is_hidden
                FROM pg_stat_activity
                WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
                  AND backend_type IS DISTINCT FROM 'autovacuum worker'
                UNION ALL SELECT 'prepared transaction ' || gid, prepared, database, false FROM pg_prepared_xacts
            ) AS held
            WHERE database = current_database() AND (since <= now() - make_interval(secs => $1) OR is_hidden)
            ORDER BY since
            """,
            seconds,
        )
        return [OldTransaction(row["what"], row["seconds"]) for row in rows]

    async def waste(self) -> list[TableWaste]:
        """Dead rows in the tables that runs are written to."""
        rows = await self._pipe.fetch(
            """
            SELECT t.relname, sum(s.n_live_tup)::bigint AS n_live_tup, sum(s.n_dead_tup)::bigint AS n_dead_tup,
                   bool_and(NOT coalesce('autovacuum_enabled=false' = ANY(c.reloptions), false)) AS autovacuum
            FROM pg_class t CROSS JOIN LATERAL (
                SELECT t.oid UNION SELECT inhrelid FROM pg_inherits WHERE inhparent = t.oid) AS part(oid)
            JOIN pg_class c ON c.oid = part.oid JOIN pg_stat_user_tables s ON s.relid = part.oid
            WHERE t.relnamespace = current_schema()::regnamespace
              AND t.relname IN ('task_runs', 'task_iterations', 'task_logs')
            GROUP BY t.relname ORDER BY t.relname
            """
        )
        return [TableWaste(row["relname"], row["n_live_tup"], row["n_dead_tup"], row["autovacuum"]) for row in rows]

    async def vacuums(self) -> bool:
        """Whether autovacuum is on at all."""
        return await self._pipe.fetchval("SELECT current_setting('autovacuum')::bool")
