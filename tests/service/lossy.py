"""A proxy before PostgreSQL that loses a reply on purpose, or keeps it: the server has done its work all the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit, urlunsplit

CHUNK = 65536


class Lossy:
    """Forwards to a server; breaks the connection in place of the reply to what holds a chosen text, or keeps it."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._marks: set[bytes] = set()
        self._late: dict[bytes, asyncio.Event] = {}
        self._waiting: dict[asyncio.Event, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.lost = 0
        self.kept = 0
        self.url = ""

    def lose_reply_to(self, mark: str | bytes) -> None:
        """Lose the reply to the next message that holds this text, or these bytes."""
        self._marks.add(mark.encode() if isinstance(mark, str) else mark)

    def keep_reply_to(self, mark: bytes) -> asyncio.Event:
        """Keep the reply to the next message that holds these bytes, until the event that is returned is set.

        A message whose reply is to be lost does not count.
        """
        self._late[mark] = asyncio.Event()
        return self._late[mark]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server_reader, server_writer = await self._connect()
        doomed = asyncio.Event()
        to_server = asyncio.create_task(self._forward_requests(reader, server_writer, doomed))
        try:
            while data := await server_reader.read(CHUNK):
                if doomed.is_set():
                    self.lost += 1
                    break
                if read := self._waiting.pop(doomed, None):
                    self.kept += 1
                    await read.wait()
                writer.write(data)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            to_server.cancel()
            server_writer.close()
            writer.close()
            self._tasks.discard(task)

    async def _forward_requests(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                kept = [mark for mark in self._late if mark in data and mark not in self._marks]
                for mark in [mark for mark in self._marks if mark in data]:
                    self._marks.discard(mark)
                    doomed.set()
                for mark in kept:
                    self._waiting[doomed] = self._late.pop(mark)
                server.write(data)
                await server.drain()
            server.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        query = parse_qs(self._parts.query)
        host = query.get("host", [self._parts.hostname or "127.0.0.1"])[0]
        port = int(query.get("port", [str(self._parts.port or 5432)])[0])
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    def aim(self, port: int) -> None:
        """Work out the URL by which the server is reached through this proxy."""
        login = self._parts.netloc.rpartition("@")[0]
        netloc = f"{login}@127.0.0.1:{port}" if login else f"127.0.0.1:{port}"
        self.url = urlunsplit(self._parts._replace(netloc=netloc, query=""))

    def hang_up(self) -> None:
        """Break all connections."""
        for task in tuple(self._tasks):
            task.cancel()


@asynccontextmanager
async def lossy(url: str) -> AsyncIterator[Lossy]:
    """The proxy, listening."""
    proxy = Lossy(url)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.aim(server.sockets[0].getsockname()[1])
    try:
        yield proxy
    finally:
        server.close()
        proxy.hang_up()
