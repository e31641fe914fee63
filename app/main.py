"""The HTTP server: puts the service behind the GraphQL schema, and says whether it is well.

It starts listening at once. While PostgreSQL is away it waits in the background, with one line that says so, and
answers requests with SERVICE_UNAVAILABLE until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from socket import socket
from typing import Any

import uvicorn
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from app import dashboard, garbage, tables
from app.auth import LOCAL_ADMIN
from app.connections import HttpConnection, WebSocketConnection
from app.db import (
    CALLER_SECONDS,
    NOT_MIGRATED,
    Database,
    complaint,
    driver_error,
    is_disconnect,
    is_unmigrated,
    refusal,
)
from app.definitions import publish
from app.doorbell import AWAY, Doorbell, connect
from app.errors import ServiceUnavailable
from app.events import Events
from app.exposition import Exposition, Measured
from app.hosts import LOOPBACK_NAMES, check_host, place
from app.nested import Counts
from app.readiness import Readiness
from app.registry import registry
from app.schema.context import Context
from app.schema.execution import Caller
from app.schema.loaders import Loaders
from app.schema.schema import schema
from app.schema.sse import EventStreams
from app.schema.view import PATH, graphql_routes
from app.service import TaskService
from app.settings import Settings, get_settings

logger = logging.getLogger("taskloom.server")

RETRY_SECONDS = 1.0
SHUTDOWN_SECONDS = 10
"""How long requests under way may take to end when the server is told to stop."""


class Server:
    """The parts of one server process, made from its settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.db = Database(
            settings.database_url,
            pool_size=settings.database_pool_size,
            query_seconds=settings.query_seconds,
            answer_seconds=CALLER_SECONDS,
        )
        self.doorbell = Doorbell(settings.redis_url)
        self.events = Events(settings.redis_url)
        self.service = TaskService(self.db, self.doorbell, self.events, settings)
        self.counts = Counts(self.db, settings.count_limit)
        self.exposition = Exposition(self.db, settings.redis_url)
        self.readiness = Readiness(self.db)
        self.streams = EventStreams()
        self.is_published = asyncio.Event()
        self.waiting_for = ""

    @asynccontextmanager
    async def running(self, _app: Starlette) -> AsyncGenerator[None, None]:
        """The lifespan: load the task code, publish it as soon as the database answers, close everything in the end."""
        registry.load(self.settings.task_modules)
        preparing = asyncio.create_task(self.prepare())
        try:
            yield
        finally:
            preparing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await preparing
            await self.close()

    async def prepare(self) -> None:
        """Publish the loaded definitions; waits for the database, and says once what it waits for.

        Nothing ends it before: whoever keeps the database may be mending it, or about to change a password.
        """
        await tell_if_redis_is_away(self.settings.redis_url)
        while not self.is_published.is_set():
            try:
                await tables.check(self.db)
                await publish(self.db, registry)
                self.is_published.set()
            except Exception as error:
                self._wait_for(error)
                await asyncio.sleep(RETRY_SECONDS)
        if self.waiting_for:
            logger.info("The database is ready.")

    def _wait_for(self, error: Exception) -> None:
        """Say what the server waits for, once; with a traceback when nobody has thought of it."""
        told, known = self.waiting_for, self._known_trouble(error)
        self.waiting_for = known or f"The definitions cannot be published: {driver_error(error)}. Trying again."
        if self.waiting_for != told:
            logger.warning(self.waiting_for, exc_info=None if known else error)

    def _known_trouble(self, error: Exception) -> str | None:
        if is_unmigrated(error):
            return NOT_MIGRATED
        database = f"PostgreSQL at {place(self.settings.database_url)}"
        if said := refusal(error):
            return f"{database} refuses the connection: {said} (DATABASE_URL). Waiting for it."
        if said := complaint(error):
            return f"{database} answers, but cannot be used just now: {said} (DATABASE_URL). Waiting for it."
        if isinstance(error, ServiceUnavailable) or is_disconnect(error):
            return f"{database} does not answer (DATABASE_URL). Waiting for it."
        return None

    async def context(self, _caller: Caller) -> object:
        """The context of one GraphQL operation, or of one event of a subscription."""
        return Context(self.service, LOCAL_ADMIN, Loaders(self.service, self.counts))

    async def is_up(self, _request: Request) -> Response:
        """``/healthz``: the process answers."""
        return JSONResponse({"status": "up"})

    async def is_ready(self, _request: Request) -> Response:
        """``/readyz``: the definitions are published and the database answers; else 503 with the reason, in time."""
        if reason := await self._why_not_ready():
            return JSONResponse({"status": "waiting", "reason": reason}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def _why_not_ready(self) -> str | None:
        if self.is_published.is_set():
            return await self.readiness.trouble()
        return self.waiting_for or "The definitions are not published yet."

    async def figures(self, _request: Request) -> Response:
        """``/metrics``: this process's figures and those of the database, for Prometheus."""
        return Response(await self.exposition.text(), media_type=CONTENT_TYPE_LATEST)

    async def close(self) -> None:
        """Close all connections."""
        await self.service.finish_telling()
        await self.exposition.close()
        await self.events.close()
        await self.doorbell.close()
        await self.db.close()


async def tell_if_redis_is_away(url: str) -> None:
    """Say in one line that Redis does not answer. Nothing waits for it: runs are stored, and start a little later."""
    redis: Any = connect(url)
    try:
        await redis.ping()
    except AWAY:
        logger.warning("Redis at %s does not answer (REDIS_URL). Going on; runs start when workers poll.", place(url))
    finally:
        await redis.aclose()


def create_app(settings: Settings | None = None) -> Starlette:
    """The server as an ASGI application; by default with the settings of the environment."""
    server = Server(settings or get_settings())
    routes = [
        *graphql_routes(schema, server.context, server.settings, dashboard.page, server.streams),
        Route("/", _to_graphql),
        Route("/healthz", server.is_up),
        Route("/readyz", server.is_ready),
        Route("/metrics", server.figures),
        *dashboard.routes(),
    ]
    app = Starlette(routes=routes, middleware=_guards(server.settings), lifespan=server.running)
    app.state.server = server
    return app


def _to_graphql(_request: Request) -> Response:
    return RedirectResponse(PATH)


def _guards(settings: Settings) -> list[Middleware]:
    """Count every request; on loopback, answer only to loopback's names."""
    measured = Middleware(Measured)
    if settings.allow_anonymous:
        return [measured]
    return [measured, Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK_NAMES), www_redirect=False)]


def serve(settings: Settings | None = None) -> None:
    """Run the server until SIGINT or SIGTERM, then let requests under way end. Raises ``UnsafeHost``."""
    settings = settings or get_settings()
    check_host(settings)
    with contextlib.suppress(KeyboardInterrupt):
        server = HttpServer(create_app(settings), settings)
        garbage.leave_alone_what_stays(garbage.SERVER_THRESHOLD)
        server.run()


class HttpServer(uvicorn.Server):
    """uvicorn, saying in one line where it listens, and ending event streams as it does WebSockets."""

    def __init__(self, app: Starlette, settings: Settings) -> None:
        super().__init__(uvicorn_config(app, settings))
        self._streams: EventStreams = app.state.server.streams

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            logger.info("Listening on http://%s:%s", f"[{host}]" if ":" in host else host, port)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Stop listening, and let requests under way end. Streams would not, and are broken off at once."""
        self._streams.end()
        await super().shutdown(sockets)


def uvicorn_config(app: Starlette, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=HttpConnection,
        ws=WebSocketConnection,
        ws_max_size=settings.max_request_bytes,
        # Its own lines tell of every WebSocket; where it listens is told by HttpServer.
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
