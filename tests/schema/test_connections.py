"""Connections whose clients do not do their part: who sends no whole request, and who does not read the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

import pytest

from app import connections
from app.connections import HEAD_BYTES
from tests.schema.test_transport import Contexts, application, serving

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

HELLO = b"GET /graphql?query={hello} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = (
    b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
)


@asynccontextmanager
async def connected(address: str, sent: bytes) -> AsyncIterator[Streams]:
    """A connection on which something was sent; its client reads no more than it is asked to."""
    reader, writer = await asyncio.open_connection(*address.split(":"), limit=2**18)
    writer.write(sent)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def stream(subscription: str) -> bytes:
    """A request for a stream of events."""
    query = quote(f"subscription {{ {subscription} }}")
    return f"GET /graphql?query={query} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode()


async def rest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, more: bytes = b"") -> bytes:
    """What comes until the server closes the connection, to which a little more is sent now and then."""
    with suppress(ConnectionError):
        async with asyncio.timeout(4):
            reading = asyncio.ensure_future(reader.read())
            while not reading.done():
                await asyncio.wait({reading}, timeout=0.05)
                writer.write(more)
            return await reading
    return b""


async def test_a_connection_without_a_whole_head_is_closed_in_time_and_one_that_is_answered_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    contexts = Contexts()
    endless: list[tuple[bytes, bytes]] = [
        (b"", b""),
        (b"", b"\r\n"),
        (b"GET / HTTP/1.1\r\n", b"A: b\r\n"),
        (HELLO + b"\r\nG", b""),
        (HELLO + b"Content-Length: 1000\r\n\r\n", b"x"),
    ]
    # The stream's head is there before the answer to the request in front of it.
    first = HELLO + b"\r\n" + stream("endless")
    async with serving(application(contexts)) as address, connected(address, first) as (reader, _):
        await reader.readuntil(b"event: next")
        for sent, more in endless:
            async with connected(address, sent) as streams:
                await rest(*streams, more)
        assert not contexts.ended.is_set()


@pytest.mark.parametrize("start", [HELLO, CHUNKED], ids=["head", "trailer"])
async def test_a_head_or_trailer_that_is_too_long_is_refused(start: bytes) -> None:
    async with serving(application()) as address, connected(address, start + b"A: " + b"b" * HEAD_BYTES) as streams:
        answer = await rest(*streams, b"b" * 2**16)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"headers" in answer


async def test_heads_on_one_connection_may_be_longer_than_one_may_be() -> None:
    async with serving(application()) as address, connected(address, b"") as (reader, writer), asyncio.timeout(5):
        for _ in range(3):
            writer.write(HELLO + b"A: " + b"b" * (HEAD_BYTES // 2) + b"\r\n\r\n")
            await reader.readuntil(b"hello you")


async def test_a_stream_that_its_client_does_not_read_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.1)
    contexts = Contexts()
    async with serving(application(contexts)) as address, connected(address, stream("flood")):
        await asyncio.wait_for(contexts.ended.wait(), 10)


async def test_a_long_answer_may_be_read_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.25)
    name = "n" * 12 * 2**20
    body = json.dumps({"query": "query ($n: String!) { hello(name: $n) }", "variables": {"n": name}}).encode()
    head = b"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    async with serving(application()) as address, connected(address, head % len(body) + body) as (reader, _):
        answer = b""
        async with asyncio.timeout(20):
            while not answer.endswith(b"}}"):
                answer += await reader.read(2**20)
                await asyncio.sleep(0.04)
        assert len(answer) > len(name)
