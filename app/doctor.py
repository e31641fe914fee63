"""``taskloom doctor``: looks at an installation and says what is well, what is not, and what cures it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any

import asyncpg

from app import clock, tables
from app.backlog import Queue, depths, queues
from app.counting import counted, named
from app.db import DISCONNECTED, Database, Pipe, complaint, is_disconnect, refusal
from app.diagnosis import (
    Finding,
    Health,
    judge_depths,
    judge_queues,
    judge_redis,
    judge_statistics,
    judge_transactions,
    judge_waits,
    judge_waste,
)
from app.doorbell import AWAY, Doorbell, connect
from app.rollups import behind_seconds
from app.settings import Settings
from app.vital_signs import LiveWorker, Published, StuckRun, VitalSigns

PATIENCE_SECONDS = 10.0
# A promise of the engine: a run whose worker died goes on within 45 s.
TAKEOVER_SECONDS = 45.0
CLOCK_WARNING_SECONDS = 2.0
CLOCK_FAILURE_SECONDS = 30.0
RING_SECONDS = 15.0
OLDEST_POSTGRES = 15


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything; whatever cannot be reached is a finding too."""
    redis = await _redis(settings.redis_url)
    db = Database(settings.database_url, pool_size=1)
    doorbell = Doorbell(settings.redis_url)
    found: list[Finding] = []
    try:
        async with db.autocommit() as pipe:
            async for finding in _checks(pipe, doorbell, settings):
                found.append(finding)
    except (asyncpg.PostgresError, *DISCONNECTED) as error:
        found = [_no_database(error), *(finding for finding in found if finding.check != "database")]
    finally:
        await doorbell.close()
        await db.close()
    # After what tells whether there is a database of this version at all.
    return [*found[:2], redis, *found[2:]]


async def _checks(pipe: Pipe, doorbell: Doorbell, settings: Settings) -> AsyncGenerator[Finding]:
    """What the database tells, check by check. Raises the driver's errors when it is not there any more."""
    signs = VitalSigns(pipe)
    async with asyncio.timeout(PATIENCE_SECONDS):
        version = await signs.version()
    yield judge_version(version)
    migrations = await _told("migrations", _migrations(pipe))
    yield migrations
    has_tables = migrations.health is Health.WELL
    yield await _told("clock", _clock(signs, has_tables=has_tables))
    # The others look into tables of this version.
    if has_tables:
        yield await _told("workers", _of(judge_workers, signs.workers))
        yield await _told("queues", _of(judge_queues, partial(queues, pipe), signs.workers))
        yield await _told("backpressure", _depths(pipe, settings))
        yield await _told("rings", _rings(signs, doorbell))
        yield await _told("leases", _of(judge_leases, signs.stuck_runs))
        yield await _told("definitions", _of(judge_definitions, signs.published, signs.workers))
        yield await _told("waits", _of(judge_waits, signs.waits))
        yield await _told("transactions", _of(judge_transactions, signs.old_transactions))
        yield await _told("vacuum", _of(judge_waste, signs.waste, signs.vacuums))
        yield await _told("statistics", _of(judge_statistics, partial(behind_seconds, pipe)))


async def _told(check: str, judging: Awaitable[Finding]) -> Finding:
    """What a check finds; or that it found nothing out, because it took too long or PostgreSQL does not tell it."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await judging
    except TimeoutError:
        cure = "Look again when the servers have less to do; transactions and vacuum may say why PostgreSQL is slow."
        return Finding(check, Health.UNKNOWN, f"took longer than {PATIENCE_SECONDS:.0f} s", cure)
    except asyncpg.PostgresError as error:
        if is_disconnect(error):
            raise
        return Finding(check, Health.UNKNOWN, f"PostgreSQL does not tell: {error}")


def _no_database(error: Exception) -> Finding:
    if said := refusal(error):
        cure = "DATABASE_URL says where and as whom; `taskloom migrate --create-database` creates what it names."
        return Finding("database", Health.ILL, f"refuses the connection: {said}", cure)
    if said := complaint(error):
        cure = "Mend what it says, or set DATABASE_URL to another server."
        return Finding("database", Health.ILL, f"answers, but cannot be used just now: {said}", cure)
    waited = f"nothing within {PATIENCE_SECONDS:.0f} s" if isinstance(error, TimeoutError) else type(error).__name__
    reason = str(error).splitlines()[0] if str(error) else waited
    cure = "Start PostgreSQL (`make run` starts everything), or set DATABASE_URL to where it is."
    return Finding("database", Health.ILL, f"does not answer: {reason}", cure)


async def _redis(url: str) -> Finding:
    redis: Any = connect(url)
    try:
        info = await redis.info()
    except AWAY as error:
        cure = "Start Valkey or Redis, or set REDIS_URL to where it is. Until then runs start a little later."
        return Finding("redis", Health.ILL, f"does not answer: {error}", cure)
    finally:
        await redis.aclose()
    return judge_redis(info)


async def _clock(signs: VitalSigns, *, has_tables: bool) -> Finding:
    before = clock.now()
    theirs = await signs.now()
    after = clock.now()
    put_back = await signs.put_back_seconds() if has_tables else 0.0
    return judge_clock((theirs - before - (after - before) / 2).total_seconds(), put_back)


async def _migrations(pipe: Pipe) -> Finding:
    return judge_migrations(await tables.current(pipe), tables.newest())


async def _of(judge: Callable[..., Finding], *signs: Callable[[], Awaitable[Any]]) -> Finding:
    """What a judgement makes of some signs, read one after the other."""
    return judge(*[await read() for read in signs])


async def _depths(pipe: Pipe, settings: Settings) -> Finding:
    limits = {name: settings.queue_limit(name) for name in _limited(await queues(pipe), settings)}
    return judge_depths(await depths(pipe, limits), limits)


def _limited(found: Sequence[Queue], settings: Settings) -> set[str]:
    """The queues that may be full: those that have due runs, and those that are named in the settings."""
    return {queue.name for queue in found} | {name for name, _ in settings.queue_limits} | set(settings.queues)


async def _rings(signs: VitalSigns, doorbell: Doorbell) -> Finding:
    rings = await signs.due_rings(RING_SECONDS)
    try:
        return judge_rings(len(rings), len(await doorbell.missing(rings)))
    except AWAY:
        return Finding("rings", Health.UNKNOWN, f"{counted(len(rings), 'run')} queued; Redis was not asked")


# What a sign means. Pure, so that each is tested by itself.


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
