"""A real server on a loopback port of the system's choice, and a client that speaks graphql-transport-ws to it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from app.main import HttpServer, Server, create_app
from app.settings import Settings

PATIENCE_SECONDS = 30


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[tuple[Server, str]]:
    """The server and its address, ``127.0.0.1:port``, served by uvicorn as ``serve`` does."""
    app = create_app(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    running = HttpServer(app, settings)
    serving = asyncio.create_task(running.serve(sockets=[listener]))
    server: Server = app.state.server
    await asyncio.wait_for(server.is_published.wait(), PATIENCE_SECONDS)
    yield server, "{}:{}".format(*listener.getsockname())
    running.should_exit = True
    await asyncio.wait_for(serving, PATIENCE_SECONDS)


class Subscription:
    """One operation on a socket of its own."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def next(self) -> dict[str, Any]:
        """The data of the next event."""
        message = await self.message()
        assert message["type"] == "next", message
        assert "errors" not in message["payload"], message
        return message["payload"]["data"]

    async def message(self) -> dict[str, Any]:
        """The next frame."""
        return json.loads(await asyncio.wait_for(self.socket.recv(), PATIENCE_SECONDS))

    async def rest(self) -> list[dict[str, Any]]:
        """The data of all events until the operation completes."""
        events = []
        while (message := await self.message())["type"] == "next":
            events.append(message["payload"]["data"])
        assert message["type"] == "complete", message
        return events

    async def complete(self) -> None:
        """Tell the server that nobody listens any more."""
        await self.socket.send(json.dumps({"id": "1", "type": "complete"}))


@asynccontextmanager
async def subscribed(address: str, query: str, **variables: Any) -> AsyncIterator[Subscription]:
    """A subscription that the server has received."""
    async with connect(f"ws://{address}/graphql", subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        payload = {"query": query, "variables": variables}
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        yield Subscription(socket)
