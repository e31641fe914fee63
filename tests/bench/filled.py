"""A database as a team leaves it after three months: saved tasks, schedules, and final runs of them.

Everything is made by SQL from the numbers of the rows, so that two fillings differ by nothing but their ids' last bits.
"""

from __future__ import annotations

from typing import Any

from app.db import Database
from app.summaries import Summaries
from tests.bench.bed import Bed

TASKS = 10_000
RUNS = 1_000_000
DAYS = 90
CHUNK = 100_000
DEFINITIONS, GROUPS, OWNERS, TAGS = 20, 50, 200, 150
RHYTHMS = ("Hourly", "Nightly", "Daily", "Weekly", "Monthly", "Quarterly", "Yearly", "Occasional")
THINGS = (
    "invoice", "customer", "order", "product", "contract", "payment", "shipment", "inventory", "newsletter", "ledger",
    "subscription", "warehouse", "supplier", "employee", "timesheet", "catalogue", "coupon", "refund", "ticket",
    "campaign", "document", "certificate", "backup", "thumbnail", "sensor",
)  # fmt: skip
WORKS = (
    "export", "import", "report", "cleanup", "synchronisation", "reconciliation", "archive", "digest", "validation",
    "enrichment", "deduplication", "reminder", "forecast", "migration", "audit", "checksum", "conversion", "indexing",
    "notification", "rebuild", "aggregation", "translation", "compression", "verification", "snapshot",
)  # fmt: skip
PLACES = (
    "Berlin", "Paris", "Madrid", "Vienna", "Warsaw", "Lisbon", "Dublin", "Oslo", "Helsinki", "Stockholm", "Rome",
    "Athens", "Prague", "Budapest", "Brussels", "Zurich", "London", "Boston", "Chicago", "Denver", "Toronto",
    "Montreal", "Tokyo", "Osaka", "Seoul", "Singapore", "Sydney", "Melbourne", "Auckland", "Nairobi", "Cairo", "Lagos",
    "Lima", "Bogota", "Santiago", "Dubai", "Mumbai", "Delhi", "Jakarta", "Manila",
)  # fmt: skip
EVERYWHERE = "every"
"""A word that is in the description of nine of ten tasks."""
RARE = "zeppelin"
"""A word that is in the name of a single task."""

_DEFINITIONS = """
    INSERT INTO task_definitions (id, title, module, version, input_schema, queue, priority, tags, max_iterations,
        max_attempts, is_private, checks_trigger, category, triggers)
    SELECT 'filled-' || n, 'Filled ' || n, 'bench', '1', '{"type": "object"}', 'default', 0, '{}', 1, 1, false, false,
        (ARRAY['Finance', 'Sales', 'Operations', 'Media', 'People'])[1 + n % 5],
        (ARRAY['BOTH', 'BOTH', 'SCHEDULED', 'ON_DEMAND'])[1 + n % 4]
    FROM generate_series(0, $1 - 1) AS n
    ON CONFLICT DO NOTHING"""
# The name of a task goes through all the rhythms, things, works and places, by numbers that have no factor in common.
_TASKS = """
    INSERT INTO tasks (id, name, description, definition_id, input, tags, group_name, owner, is_enabled, entity_type,
        entity_id, created_at, created_by, updated_at, updated_by)
    SELECT uuidv7(at - now()),
        CASE WHEN n = $1 / 2 THEN 'Airship zeppelin check' ELSE concat_ws(' ', rhythm, thing, work, place, n) END,
        CASE WHEN n % 10 = 0 THEN NULL ELSE
            format('Does the %s of every %s that the team in %s has seen since the last time, tells the people who '
                || 'depend on it, and leaves a summary with the %s for %s %s.', work, thing, place, other,
                lower(rhythm), (ARRAY['review', 'planning', 'accounting', 'meetings', 'analysis'])[1 + n / 7 % 5]) END,
        'filled-' || (n * 13 % 20), '{"depth": 3, "region": "eu"}',
        ARRAY(SELECT 'tag-' || (n * 31 + k * k * 17) % 150 FROM generate_series(1, n % 4) AS k),
        CASE WHEN n % 5 > 0 THEN 'Pipeline ' || (n * 11 % 50) END, 'USER:person-' || (n * 7 % 200), n % 33 > 0,
        CASE WHEN n % 3 = 0 THEN 'customer' END, CASE WHEN n % 3 = 0 THEN 'c' || n END,
        at, 'USER:person-' || (n * 7 % 200), at, 'USER:person-' || (n * 7 % 200)
    FROM (
        SELECT n, now() - ($2 + ($1 - n) * 0.002) * interval '1 day' AS at, $3::text[] AS rhythms,
            ($3::text[])[1 + n % 8] AS rhythm, ($4::text[])[1 + n * 7 % 25] AS thing,
            ($5::text[])[1 + n / 25 % 25] AS work, ($6::text[])[1 + n * 3 % 40] AS place,
            ($4::text[])[1 + (n * 11 + 5) % 25] AS other
        FROM generate_series(1, $1) AS n) AS numbered"""
_REVISIONS = """
    INSERT INTO task_revisions (task_id, version, changed_at, changed_by, change, fields)
    SELECT id, 1, created_at, created_by, 'CREATED', jsonb_build_object('name', name) FROM tasks
    WHERE definition_id LIKE 'filled-%'"""
_SCHEDULES = """
    INSERT INTO schedules (id, task_id, cron, time_zone, owner, created_by, updated_by, active_since, next_tick_at,
        next_due_at, overlap, catch_up, status)
    SELECT uuidv7(), id, '0 3 * * *', 'UTC', owner, created_by, updated_by, created_at, at, at, 'SKIP', 'LAST', 'ACTIVE'
    FROM (
        SELECT *, now() + (1 + row_number() OVER (ORDER BY id) % 1440) * interval '1 minute' AS at FROM tasks
    ) AS t WHERE definition_id LIKE 'filled-%' AND substr(name, length(name)) IN ('3', '7')"""
# Some tasks run far more often than others, one in twenty never. Most runs succeed; a few tasks fail more often.
_RUNS = """
    INSERT INTO task_runs (id, definition_id, name, status, status_reason, status_changed_at, input, error, queue,
        tags, iteration, max_iterations, attempt, max_attempts, created_at, start_at, started_at, finished_at,
        created_by, task_id, task_version, group_name, owner, log_count, log_info, claim_no)
    SELECT uuidv7(at - now()), t.definition_id, t.name, status,
        CASE status WHEN 'FAILED' THEN 'ERROR' WHEN 'ABORTED' THEN 'ABORT_REQUESTED' WHEN 'LOST' THEN 'WORKER_LOST'
            WHEN 'EXPIRED' THEN 'TTL' END, at + took + waited, '{"depth": 3}',
        CASE WHEN status = 'FAILED' THEN jsonb_build_object('type', (ARRAY['ConnectionError', 'TimeoutError',
            'ValueError', 'KeyError', 'PermissionError', 'HTTPStatusError'])[1 + n % 6], 'message',
            format('could not reach host %s for order %s', n % 9, n), 'traceback', NULL) END,
        'default', t.tags, 1, 1, 1, 1, at, at, CASE WHEN status <> 'EXPIRED' THEN at + waited END, at + took + waited,
        t.owner, t.id, 1, t.group_name, t.owner, $4, $4, 1
    FROM (
        SELECT n, $2::timestamptz - ($1::float8 - n) / $1 * $3 * interval '1 day' AS at,
            floor(($6 - 1) * power(n * 7919 % 10007 / 10007.0, 2))::int / 20 * 20
                + 1 + (n * 31 % 19)::int AS task_no,
            ((n * 104729 % 997) / 997.0::float8)^3 * interval '40 seconds' + interval '30 milliseconds' AS took,
            (n * 6151 % 499) * interval '2 milliseconds' AS waited,
            CASE WHEN n % 37 = 0 THEN 'FAILED' WHEN n % 101 = 1 THEN 'ABORTED' WHEN n % 211 = 2 THEN 'LOST'
                WHEN n % 307 = 3 THEN 'EXPIRED' WHEN n * 31 % 19 = 4 AND n % 3 = 0 THEN 'FAILED'
                ELSE 'SUCCEEDED' END AS status
        FROM generate_series($5::bigint, LEAST($5::bigint + $7 - 1, $1::bigint)) AS n) AS numbered
    JOIN numbered_tasks t ON t.task_no = numbered.task_no"""
_ITERATIONS = """
    INSERT INTO task_iterations (run_id, claim_no, number, attempt, started_at, finished_at, outcome)
    SELECT id, 1, 1, 1, started_at, finished_at, 'SUCCEEDED' FROM task_runs
    WHERE started_at IS NOT NULL AND log_count > 0 ON CONFLICT DO NOTHING"""
_LOGS = """
    INSERT INTO task_logs (run_id, sequence, iteration, attempt, level, message, created_at)
    SELECT id, n, 1, 1, 'INFO', 'line ' || n, created_at FROM task_runs, generate_series(1, log_count) AS n
    WHERE log_count > 0 ON CONFLICT DO NOTHING"""


async def fill_tasks(look: Any, tasks: int = TASKS) -> None:
    """Save so many tasks with their revisions, two of ten with a schedule whose next tick is within a day."""
    await look.execute(_DEFINITIONS, DEFINITIONS)
    await look.execute(_TASKS, tasks, DAYS, RHYTHMS, THINGS, WORKS, PLACES)
    await look.execute(_REVISIONS)
    await look.execute(_SCHEDULES)
    await look.execute("ANALYZE task_definitions, tasks, schedules, task_words")


async def fill_runs(bed: Bed, runs: int = RUNS, *, days: float = DAYS, lines: int = 0, ago: float = 0) -> None:
    """Store so many final runs of the saved tasks, created evenly over so many days up to ``ago`` days before now.

    With ``lines`` each has so many log lines, and a row for its iteration; summaries and statistics are up to date.
    """
    await insert_runs(bed.look, runs, days=days, lines=lines, ago=ago)
    await summarise(bed)
    for table in ("task_runs", "task_iterations", "task_logs", "task_summaries"):
        await bed.look.execute(f"VACUUM ANALYZE {table}", timeout=600)
    await bed.look.execute("CHECKPOINT")


async def insert_runs(look: Any, runs: int, *, days: float = DAYS, lines: int = 0, ago: float = 0) -> None:
    """Store the runs alone, over an asyncpg connection."""
    until = await look.fetchval("SELECT now() - $1::float8 * interval '1 day'", ago)
    await look.execute("""
        CREATE TEMPORARY TABLE numbered_tasks AS
        SELECT row_number() OVER (ORDER BY id) AS task_no, id, name, definition_id, tags, group_name, owner
        FROM tasks WHERE definition_id LIKE 'filled-%'""")
    await look.execute("ANALYZE numbered_tasks")
    tasks = await look.fetchval("SELECT count(*) FROM numbered_tasks")
    for first in range(1, runs + 1, CHUNK):
        await look.execute(_RUNS, runs, until, days, lines, first, tasks, CHUNK, timeout=600)
    if lines:
        await look.execute(_ITERATIONS, timeout=600)
        await look.execute(_LOGS, timeout=600)
    await look.execute("DROP TABLE numbered_tasks")


async def summarise(bed: Bed) -> None:
    """Bring the summaries of saved tasks up to date, as a worker's housekeeping does."""
    db = Database(bed.settings.database_url, pool_size=1)
    await Summaries(db).catch_up()
    await db.close()
