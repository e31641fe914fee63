"""Server-sent events on an idle server: a stream is there before its first event, and gone with client or server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import httpx2
import pytest

from app import main
from app.settings import Settings
from tests.schema.live import listening
from tests.workbench import until

CHANGES = {"query": "subscription { taskRunsChanged { id } }"}
STREAM = {"accept": "text/event-stream"}


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=20) as http:
        yield http


def changes(http: httpx2.AsyncClient, address: str) -> AbstractAsyncContextManager[httpx2.Response]:
    """A stream of changes, of which there are none."""
    return http.stream("POST", f"http://{address}/graphql", json=CHANGES, headers=STREAM)


async def test_a_stream_has_begun_before_there_is_an_event(settings: Settings, http: httpx2.AsyncClient) -> None:
    async with listening(settings) as (_, address), changes(http, address) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_a_client_that_leaves_before_the_first_event_is_not_listened_for_any_more(
    settings: Settings, http: httpx2.AsyncClient
) -> None:
    async with listening(settings) as (server, address):
        listening_for = server.events._changes._subscriptions
        async with changes(http, address):
            await until(lambda: listening_for)
        await until(lambda: not listening_for)


async def test_a_server_that_stops_breaks_off_its_streams_at_once_and_does_not_say_that_they_are_complete(
    settings: Settings, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "SHUTDOWN_SECONDS", 600)
    async with asyncio.timeout(20):
        async with listening(settings) as (server, address):
            response = await http.send(
                http.build_request("POST", f"http://{address}/graphql", json=CHANGES, headers=STREAM), stream=True
            )
            await until(lambda: server.events._changes._subscriptions)
        assert await response.aread() == b""
