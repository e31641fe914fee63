"""``/metrics`` of the server: what this process measured (``app.metrics``) and how much work the database holds.

PostgreSQL and Redis are asked when somebody looks, at most once in a second, and never for long: while they are away
the process's own figures are answered all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, MutableMapping
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from starlette.types import ASGIApp, Receive, Scope, Send

from app import metrics
from app.backlog import COUNTED, Backlog, backlog
from app.db import Database
from app.doorbell import AWAY, connect, queue_key

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 2.0
PATHS = frozenset({"/", "/graphql", "/healthz", "/readyz", "/metrics"})


class Exposition:
    """Makes the text; one for a server. As a collector it gives what the last look brought."""

    def __init__(self, db: Database, redis_url: str) -> None:
        self._db = db
        self._redis: Any = connect(redis_url)
        self._looking = asyncio.Lock()
        self._looked = float("-inf")
        self._backlog: Backlog | None = None
        self._rings: dict[str, int] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    async def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        async with self._looking:
            if time.monotonic() - self._looked >= FRESH_SECONDS:
                self._backlog = await self._look()
                self._rings = await self._count_rings()
                self._looked = time.monotonic()
        return generate_latest(REGISTRY) + generate_latest(self._registry)

    async def close(self) -> None:
        """Close the connection to Redis."""
        await self._redis.aclose()

    async def _look(self) -> Backlog | None:
        """The backlog, or None when the database does not tell it in time, for whatever reason: a figure too."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._db.autocommit() as pipe:
                return await backlog(pipe)
        except Exception:
            return None

    async def _count_rings(self) -> dict[str, int]:
        names = [queue.name for queue in self._backlog.queues] if self._backlog else []
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._redis.ping()
                rings = {name: int(await self._redis.zcard(queue_key(name))) for name in {"default", *names}}
        except (*AWAY, TimeoutError):
            metrics.doorbell(answered=False)
            return {}
        metrics.doorbell(answered=True)
        return rings

    def describe(self) -> list[Metric]:
        """Nothing beforehand; ``CollectorRegistry`` asks for it."""
        return []

    def collect(self) -> Generator[Metric]:
        """What the last look brought, for ``CollectorRegistry``."""
        return families(self._backlog, self._rings)


def families(found: Backlog | None, rings: dict[str, int]) -> Generator[Metric]:
    """What the database holds, None while it is away, and the rings in Redis by queue, as metrics."""
    up = 1 if found else 0
    yield _gauge("taskloom_database_up", "Whether PostgreSQL told the figures below in time (1) or not (0).", up)
    yield _each("taskloom_queue_rings", "Rings in Redis, about as many as due runs.", "queue", rings)
    if found is None:
        return
    # The usual queue has a depth also when it is empty, or an alert on it would never end; others come and go.
    depth = {"default": 0, **{queue.name: queue.queued for queue in found.queues}}
    oldest = {"default": 0.0, **{queue.name: queue.oldest_seconds for queue in found.queues}}
    yield _each("taskloom_queue_runs", f"Due runs; counted up to {COUNTED}.", "queue", depth)
    yield _each("taskloom_queue_oldest_seconds", "For how long the oldest due run has been due.", "queue", oldest)
    yield _gauge("taskloom_runs_held", f"Runs that workers hold; counted up to {COUNTED}.", found.held)
    yield _gauge("taskloom_runs_asleep", f"Scheduled and waiting runs; counted up to {COUNTED}.", found.asleep)
    yield _gauge("taskloom_runs_limited", f"Runs that wait for limits; counted up to {COUNTED}.", found.limited)
    yield _gauge("taskloom_dispatch_lag_seconds", "How late the longest sleeping run is.", found.overdue_seconds)
    yield _gauge(
        "taskloom_statistics_lag_seconds", "How long ago the first run finished that statistics lack.",
        found.uncounted_seconds,
    )  # fmt: skip
    workers = {"taking": found.taking_workers, "draining": found.draining_workers}
    yield _each("taskloom_workers", "Workers whose lease holds.", "state", workers)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value)


def _each(name: str, documentation: str, label: str, values: MutableMapping[str, Any]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


class Measured:
    """ASGI middleware that counts what is answered, by path and status, and times it up to the head of the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "websocket":
            with metrics.WEBSOCKETS.track_inprogress():
                await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._app(scope, receive, _counting(scope["path"], send))
        else:
            await self._app(scope, receive, send)


def _counting(path: str, send: Send) -> Send:
    began = time.perf_counter()
    known = path if path in PATHS else "other"

    async def counted(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            metrics.HTTP_REQUESTS.labels(known, str(message["status"])).inc()
            metrics.HTTP_SECONDS.labels(known).observe(time.perf_counter() - began)
        await send(message)

    return counted
