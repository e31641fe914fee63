"""``taskloom doctor``: looks at an installation and says what is well, what is not, and what cures it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import asyncpg
from redis.exceptions import ResponseError

from app import clock, tables
from app.backlog import Queue, depths, queues
from app.counting import counted
from app.db import DISCONNECTED, Database, Pipe, complaint, forbidden, is_disconnect, refusal
from app.diagnosis import (
    Finding,
    Health,
    judge_clock,
    judge_definitions,
    judge_depths,
    judge_leases,
    judge_migrations,
    judge_queues,
    judge_redis,
    judge_rings,
    judge_statistics,
    judge_transactions,
    judge_version,
    judge_waits,
    judge_waste,
    judge_workers,
)
from app.doorbell import AWAY, Doorbell, connect
from app.events import CHANGES
from app.rollups import behind_seconds
from app.settings import Settings
from app.vital_signs import VitalSigns

PATIENCE_SECONDS = 10.0
RING_SECONDS = 15.0


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything; whatever cannot be reached is a finding too."""
    doorbell = Doorbell(settings.redis_url)
    redis = await _redis(settings.redis_url, doorbell)
    db = Database(settings.database_url, pool_size=1)
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
        if is_disconnect(error) and not forbidden(error):
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
    cure = "Start PostgreSQL (`make run`, or `taskloom dev`, starts everything), or set DATABASE_URL to where it is."
    return Finding("database", Health.ILL, f"does not answer: {reason}", cure)


async def _redis(url: str, doorbell: Doorbell) -> Finding:
    redis: Any = connect(url)
    try:
        finding = judge_redis(await redis.info())
        if finding.health is Health.WELL:
            await doorbell.probe()
            # To listeners this says nothing.
            await redis.publish(CHANGES, b"")
    except ResponseError as error:
        cure = "Mend what it says (memory, a replica, the user's rights). Until then runs start some seconds late."
        return Finding("redis", Health.ILL, f"answers, but refuses what Taskloom asks of it: {error}", cure)
    except AWAY as error:
        cure = "Start Valkey or Redis, or set REDIS_URL to where it is. Until then runs start a little later."
        return Finding("redis", Health.ILL, f"does not answer: {error}", cure)
    finally:
        await redis.aclose()
    return finding


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
