"""What the signs of the servers mean for ``taskloom doctor``: pure, so that each judgement is tested by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import Any
from uuid import UUID

from app.backlog import Queue
from app.counting import NAMED, counted, named
from app.vital_signs import LiveWorker, OldTransaction, Published, StuckRun, TableWaste

OLDEST_POSTGRES = 15
CLOCK_WARNING_SECONDS = 2.0
CLOCK_FAILURE_SECONDS = 30.0
NEARLY_FULL = 0.8
# A promise of the engine: a run whose worker died goes on within 45 s.
TAKEOVER_SECONDS = 45.0
TRANSACTION_WARNING_SECONDS = 300.0
TRANSACTION_FAILURE_SECONDS = 3600.0
WASTE_ROWS = 100_000
STATISTICS_WARNING_SECONDS = 600.0
WASTE_SHARE = 0.5


class Health(StrEnum):
    """How one thing is."""

    WELL = "WELL"
    DOUBTFUL = "DOUBTFUL"
    ILL = "ILL"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``cure`` says what to do where something is not well."""

    check: str
    health: Health
    finding: str
    cure: str | None = None


def judge_version(version: str) -> Finding:
    """Whether PostgreSQL is new enough."""
    if int(version.split(".")[0].split()[0]) < OLDEST_POSTGRES:
        return Finding("database", Health.ILL, f"PostgreSQL {version}", f"Use PostgreSQL {OLDEST_POSTGRES} or newer.")
    return Finding("database", Health.WELL, f"PostgreSQL {version.split()[0]}")


def judge_migrations(current: str | None, head: str | None) -> Finding:
    """Whether the database has the tables of this version."""
    if current == head:
        return Finding("migrations", Health.WELL, f"version {current}, the newest")
    if current is not None and head is not None and current > head:
        cure = "This Taskloom is older than the database: install the version that the other processes run."
        return Finding("migrations", Health.ILL, f"version {current}, newer than this program's {head}", cure)
    return Finding("migrations", Health.ILL, f"version {current or 'none'}, not {head}", "Run `taskloom migrate`.")


def judge_clock(seconds: float, put_back_seconds: float = 0.0) -> Finding:
    """Whether this machine's clock agrees with the database's: positive when the database's is ahead.

    And whether that one has told later times than now.
    """
    if put_back_seconds >= CLOCK_WARNING_SECONDS:
        finding = f"the database's was put back, to a time that it told {_how_long(put_back_seconds)} before"
        cure = (
            "Until it is there again, delays, retries, ticks and rates from before wait for as much longer, and "
            "statistics do not count. Let NTP slew the clock of that machine and not step it (docs/operations.md)."
        )
        return Finding("clock", _clock_health(put_back_seconds), finding, cure)
    health = _clock_health(seconds)
    if health is Health.WELL:
        return Finding("clock", health, f"{_how_long(seconds)} apart from the database's")
    side = "behind" if seconds > 0 else "ahead of"
    cure = "Let NTP set the clocks of both machines."
    return Finding("clock", health, f"{_how_long(seconds)} {side} the database's", cure)


def _clock_health(seconds: float) -> Health:
    if abs(seconds) < CLOCK_WARNING_SECONDS:
        return Health.WELL
    return Health.DOUBTFUL if abs(seconds) < CLOCK_FAILURE_SECONDS else Health.ILL


def _how_long(seconds: float) -> str:
    size = abs(seconds)
    return f"{size * 1000:.0f} ms" if size < 1 else f"{size:.1f} s"


def judge_redis(info: Mapping[str, Any]) -> Finding:
    """Whether Redis is of a kind that keeps rings: ``INFO`` as one mapping."""
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"
    if int(info.get("cluster_enabled", 0)):
        cure = "Use one primary (with replicas, Sentinel or a managed failover, if you like): rings are few and small."
        return Finding("redis", Health.ILL, f"{name} is a cluster, which cannot wait on several queues at once", cure)
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if int(info.get("maxmemory", 0)) and policy != "noeviction":
        finding = f"{name} may evict rings when its memory is full (maxmemory-policy {policy}); such runs start late"
        return Finding("redis", Health.DOUBTFUL, finding, "Set `maxmemory-policy noeviction`.")
    return Finding("redis", Health.WELL, name)


def judge_workers(workers: Sequence[LiveWorker]) -> Finding:
    """Whether somebody executes runs."""
    taking = [worker for worker in workers if not worker.is_draining]
    if not taking:
        draining = f"; {len(workers)} draining" if workers else ""
        return Finding("workers", Health.ILL, f"none takes runs{draining}", "Start one with `taskloom worker`.")
    names = named([f"{worker.name} (seen {worker.silent_seconds:.0f} s ago)" for worker in workers])
    running, capacity = sum(w.running for w in taking), sum(w.capacity for w in taking)
    finding = f"{len(taking)} alive, {running} of {counted(capacity, 'slot')} in use: {names}"
    if running >= capacity:
        return Finding("workers", Health.DOUBTFUL, finding, "All slots are in use: start another `taskloom worker`.")
    return Finding("workers", Health.WELL, finding)


def judge_queues(queues: Sequence[Queue], workers: Sequence[LiveWorker]) -> Finding:
    """Whether each queue that has due runs has a worker."""
    served = {queue for worker in workers if not worker.is_draining for queue in worker.queues}
    alone = [queue for queue in queues if queue.name not in served]
    if alone:
        names = named(
            [f"{q.name} ({counted(q.queued, 'run')}, the oldest for {q.oldest_seconds:.0f} s)" for q in alone]
        )
        cure = "Nobody executes these runs: start a worker with TASKLOOM_QUEUES=" + ",".join(
            q.name for q in alone[:NAMED]
        )
        return Finding(
            "queues", Health.ILL, f"{counted(len(alone), 'queue')} with runs and without a worker: {names}", cure
        )
    waiting = sum(queue.queued for queue in queues)
    finding = f"{counted(waiting, 'run', 'wait')} in {counted(len(queues), 'queue')}, each with a worker"
    return Finding("queues", Health.WELL, finding if queues else "empty")


def judge_rings(due: int, missing: int) -> Finding:
    """Whether the runs that wait for a worker have been rung."""
    if not missing:
        return Finding("rings", Health.WELL, f"{counted(due, 'run', 'wait')}, each rung" if due else "no run waits")
    cure = "A live worker rings for them within seconds: start one with `taskloom worker`, or look at its log."
    return Finding(
        "rings", Health.DOUBTFUL, f"{missing} of {counted(due, 'waiting run')} without a ring in Redis", cure
    )


def judge_leases(stuck: Sequence[StuckRun]) -> Finding:
    """Whether dead workers hold runs for longer than it takes others to notice."""
    if not stuck:
        return Finding("leases", Health.WELL, "no dead worker holds a run")
    longest = max(run.seconds for run in stuck)
    finding = f"dead workers hold {counted(len(stuck), 'run')}, for up to {longest:.0f} s: " + named(
        [f"{run.run_id} ({run.worker}; {run.definition_id} in queue {run.queue})" for run in stuck]
    )
    if longest < TAKEOVER_SECONDS:
        return Finding("leases", Health.DOUBTFUL, finding, "Nothing to do yet: live workers take them over shortly.")
    cure = "A live worker that serves their queue and has their code takes them over: start one with `taskloom worker`."
    return Finding("leases", Health.ILL, finding, cure)


def judge_definitions(published: Sequence[Published], workers: Sequence[LiveWorker]) -> Finding:
    """Whether each definition has a live worker that has its code and serves its queue, and those of its due runs."""
    alone = [row for row in published if not any(_serves(worker, row) for worker in workers)]
    if not alone:
        listed = {row.definition_id for row in published if not row.is_private}
        finding = f"{len(listed)} published, each with a live worker" if listed else "none is published yet"
        return Finding("definitions", Health.WELL, finding)
    lonely, known = ({row.definition_id for row in rows} for rows in (alone, published))
    finding = f"{len(lonely)} of {len(known)} without a live worker: {named(list(_lonely(alone)))}"
    cure = (
        "Start a worker that has their module in TASKLOOM_TASKS and serves their queue, both at once. Where the code "
        "is gone for good, docs/operations.md says how to remove a definition (Deploy)."
    )
    waiting = any(row.queued for row in alone)
    return Finding("definitions", Health.ILL if waiting else Health.DOUBTFUL, finding, cure)


def _serves(worker: LiveWorker, row: Published) -> bool:
    return not worker.is_draining and row.definition_id in worker.definition_ids and row.queue in worker.queues


def _lonely(rows: Sequence[Published]) -> Iterator[str]:
    for row in rows:
        queue = f"queue {row.queue}" if row.queue != "default" else ""
        waiting = counted(row.queued, "run", "wait") if row.queued else ""
        about = ", ".join(part for part in (queue, waiting) if part)
        yield f"{row.definition_id} ({about})" if about else row.definition_id


def judge_waits(waits: Mapping[UUID, Sequence[UUID]]) -> Finding:
    """Whether runs wait for each other: for each that waits, those among the others that it waits for."""
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        # The first of them is named once more at its end.
        circle: list[UUID] = error.args[1][1:]
        finding = (
            f"{counted(len(circle), 'run', 'wait')} for each other and never go on: {named(list(map(str, circle)))}"
        )
        cure = (
            "Abort one of them (`taskloom runs abort`). Where a key is taken, a trigger may give a run that waits for "
            "the very one that triggers: let that one not wait for it."
        )
        return Finding("waits", Health.ILL, finding, cure)
    return Finding("waits", Health.WELL, "no runs wait for each other")


def judge_depths(depths: Mapping[str, int], limits: Mapping[str, int]) -> Finding:
    """Whether queues will soon refuse triggers: the runs that wait in each, and how many may (0 is without limit)."""
    full = [queue for queue, depth in depths.items() if limits[queue] and depth >= NEARLY_FULL * limits[queue]]
    if not full:
        return Finding("backpressure", Health.WELL, "no queue is nearly full")
    names = named([f"{queue} ({depths[queue]:,} of {counted(limits[queue], 'run')})" for queue in full])
    cure = "Past the limit triggers are refused: start workers for it, or raise TASKLOOM_QUEUE_LIMITS."
    return Finding("backpressure", Health.DOUBTFUL, f"nearly full or full: {names}", cure)


def judge_transactions(old: Sequence[OldTransaction]) -> Finding:
    """Whether a transaction keeps vacuum from removing what finished runs left behind."""
    held = [(t.what, t.seconds) for t in old if t.seconds is not None and t.seconds >= TRANSACTION_WARNING_SECONDS]
    hidden = [transaction.what for transaction in old if transaction.seconds is None]
    if not held and hidden:
        finding = f"since when some of other roles are open cannot be seen: {named(hidden)}"
        cure = "`GRANT pg_read_all_stats` to the role of DATABASE_URL: then a long one is found."
        return Finding("transactions", Health.UNKNOWN, finding, cure)
    if not held:
        return Finding("transactions", Health.WELL, "none is old enough to hold back vacuum")
    names = named([f"{what} ({seconds / 60:.0f} min)" for what, seconds in held])
    cure = (
        "Workers look for runs ever more slowly while dead rows stay: end it there, or by "
        "`SELECT pg_terminate_backend(pid)`."
    )
    ill = held[0][1] >= TRANSACTION_FAILURE_SECONDS
    return Finding("transactions", Health.ILL if ill else Health.DOUBTFUL, f"vacuum is held back by {names}", cure)


def judge_waste(tables: Sequence[TableWaste], autovacuum: bool) -> Finding:
    """Whether dead rows are removed at the rate at which they are made."""
    if not autovacuum or any(not table.autovacuum for table in tables):
        names = named([table.name for table in tables if not table.autovacuum]) if autovacuum else "every table"
        cure = "Every run leaves dead rows: turn it on (postgresql.conf, `ALTER TABLE … RESET (autovacuum_enabled)`)."
        return Finding("vacuum", Health.ILL, f"autovacuum is off for {names}", cure)
    wasted = [t for t in tables if t.dead > WASTE_ROWS and t.dead > WASTE_SHARE * t.live]
    if not wasted:
        return Finding("vacuum", Health.WELL, "dead rows are removed")
    names = named([f"{t.name} ({t.dead:,} dead beside {t.live:,} live rows)" for t in wasted])
    cure = "Run `VACUUM (ANALYZE)` on it, then let autovacuum come earlier: see docs/scale.md."
    return Finding("vacuum", Health.DOUBTFUL, f"dead rows slow down {names}", cure)


def judge_statistics(behind_seconds: float) -> Finding:
    """Whether finished runs are counted for statistics about as fast as they finish."""
    if behind_seconds < STATISTICS_WARNING_SECONDS:
        return Finding("statistics", Health.WELL, "count what has finished")
    finding = f"lack what finished in the last {behind_seconds / 60:,.0f} min"
    cure = (
        "Live workers catch up, at thousands of runs a second; after an upgrade let them. If the figure does not fall: "
        "start a worker, look at its log, and end transactions that have been open for long (docs/history.md)."
    )
    return Finding("statistics", Health.DOUBTFUL, finding, cure)
