"""A server process for tests, and what Prometheus would read from a process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from app.dev.http_probe import free_port
from app.settings import Settings
from tests.workbench import until

ROOT = Path(__file__).parents[2]
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


@asynccontextmanager
async def server_process(settings: Settings, **changes: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A server process and a client of it; it is ready when the block begins, and stopped when it ends."""
    port = free_port("127.0.0.1", 0)
    environment = {**os.environ, **changes, "DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    environment |= {"PORT": str(port), "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "app.cli", "serve", env=environment, cwd=ROOT)
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:

            async def is_ready() -> bool:
                assert process.returncode is None, "the server ended at its start"
                try:
                    return (await http.get("/readyz")).status_code == 200
                except httpx2.TransportError:
                    return False

            await until(is_ready, 40)
            yield http
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


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
