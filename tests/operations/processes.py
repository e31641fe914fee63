"""A server process for tests, and what Prometheus would read from a process."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from app.dev.http_probe import free_port
from app.settings import Settings
from tests.forked import Forked, forked
from tests.workbench import PATIENCE_SECONDS, until

ROOT = Path(__file__).parents[2]
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


class ServerProcess:
    """``taskloom serve`` in a process of its own, which may be killed and started again at the same address."""

    def __init__(self, settings: Settings, **changes: str) -> None:
        port = free_port("127.0.0.1", 0)
        servers = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
        self._environment = {**os.environ, **changes, **servers, "PORT": str(port), "PYTHONPATH": str(ROOT)}
        self._process: Forked | None = None
        self.address = f"127.0.0.1:{port}"
        self.http = httpx2.AsyncClient(base_url=f"http://{self.address}")

    @property
    def is_running(self) -> bool:
        """Whether the process that was started last is still there."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process, and wait until it is ready."""
        self._process = await forked("app.cli", "serve", environment=self._environment, cwd=ROOT)
        await until(self._is_ready, 40)

    async def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, and wait for the end; nothing where it has ended."""
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            await self._process.ended(PATIENCE_SECONDS)

    async def _is_ready(self) -> bool:
        assert self.is_running, "the server ended at its start"
        try:
            return (await self.http.get("/readyz")).status_code == 200
        except httpx2.TransportError:
            return False


@asynccontextmanager
async def server_process(settings: Settings, **changes: str) -> AsyncIterator[ServerProcess]:
    """A server process; it is ready when the block begins, and stopped when it ends."""
    server = ServerProcess(settings, **changes)
    async with server.http:
        try:
            await server.start()
            yield server
        finally:
            await server.stop()


def parsed(text: str) -> Figures:
    """Each figure of the text format by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def figure(figures: Figures, name: str, **labels: str) -> float | None:
    """One figure, or None when there is none."""
    return figures.get((name, frozenset(labels.items())))


async def scraped(http: httpx2.AsyncClient, url: str = "/metrics") -> Figures:
    """What Prometheus would read."""
    response = await http.get(url)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return parsed(response.text)
