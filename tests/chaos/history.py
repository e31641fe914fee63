"""What the database saw: every change of every run and every line, taken down by triggers of the chaos run's own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from app.db import plain_url

COLUMNS = """status, claim_no, write_no, lease_owner, iteration, attempt, interruptions, log_count, state, output,
    error, abort_requested_at"""
INSTALL = f"""
    CREATE TABLE chaos_changes AS SELECT 0::bigint AS number, ''::text AS operation, id AS run_id, {COLUMNS}
        FROM task_runs WITH NO DATA;
    CREATE TABLE chaos_lines AS SELECT 0::bigint AS number, run_id, sequence, 0 AS holding
        FROM task_logs WITH NO DATA;
    CREATE SEQUENCE chaos_numbers;
    CREATE FUNCTION chaos_change() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE r task_runs;
        BEGIN
            IF TG_OP = 'UPDATE' AND NEW.error_group IS DISTINCT FROM OLD.error_group THEN
                r := NEW;
                r.error_group := OLD.error_group;
                -- That failures are put into groups later is no change of the run; anything else beside it is.
                IF r IS NOT DISTINCT FROM OLD THEN RETURN NULL; END IF;
            END IF;
            r := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
            INSERT INTO chaos_changes SELECT nextval('chaos_numbers'), TG_OP, r.id, {
    ", ".join(f"r.{name.strip()}" for name in COLUMNS.split(","))
};
            RETURN NULL;
        END $$;
    CREATE FUNCTION chaos_line() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO chaos_lines SELECT nextval('chaos_numbers'), NEW.run_id, NEW.sequence, r.claim_no
                FROM task_runs r WHERE r.id = NEW.run_id;
            RETURN NULL;
        END $$;
    CREATE TRIGGER chaos_change AFTER INSERT OR UPDATE OR DELETE ON task_runs
        FOR EACH ROW EXECUTE FUNCTION chaos_change();
    CREATE TRIGGER chaos_line AFTER INSERT ON task_logs FOR EACH ROW EXECUTE FUNCTION chaos_line()"""

CHANGES = "SELECT * FROM chaos_changes ORDER BY number"
LINES = """SELECT l.*, c.holding FROM task_logs l LEFT JOIN chaos_lines c USING (run_id, sequence)
    ORDER BY l.run_id, l.sequence"""
ITERATIONS = "SELECT * FROM task_iterations ORDER BY run_id, claim_no"
JSON = ("state", "output", "error", "data", "input")

Row = dict[str, Any]


@dataclass
class RunHistory:
    """One run: its row in the end, and its changes, lines and attempts in their order."""

    row: Row
    changes: list[Row] = field(default_factory=list)
    lines: list[Row] = field(default_factory=list)
    iterations: list[Row] = field(default_factory=list)


async def connect(url: str) -> Any:
    """A plain connection."""
    return await asyncpg.connect(plain_url(url))


async def install(url: str) -> None:
    """Begin to take down; the database must have its tables and no runs yet."""
    connection = await connect(url)
    await connection.execute(INSTALL)
    await connection.close()


async def load(url: str) -> dict[UUID, RunHistory]:
    """All that was taken down, by run; a run that was deleted has an empty row."""
    connection = await connect(url)
    try:
        return await read(connection)
    finally:
        await connection.close()


async def read(connection: Any) -> dict[UUID, RunHistory]:
    """The same, as a connection sees it in its transaction."""
    runs: dict[UUID, RunHistory] = defaultdict(lambda: RunHistory({}))
    for row in await _rows(connection, "SELECT * FROM task_runs"):
        runs[row["id"]].row = row
    for row in await _rows(connection, CHANGES):
        runs[row["run_id"]].changes.append(row)
    for row in await _rows(connection, LINES):
        runs[row["run_id"]].lines.append(row)
    for row in await _rows(connection, ITERATIONS):
        runs[row["run_id"]].iterations.append(row)
    return dict(runs)


async def _rows(connection: Any, query: str) -> Iterable[Row]:
    return [
        {name: orjson.loads(value) if name in JSON and value is not None else value for name, value in row.items()}
        for row in await connection.fetch(query)
    ]
