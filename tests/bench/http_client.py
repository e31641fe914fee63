"""HTTP as plainly as possible, so that it is the server that is measured: keep-alive connections that write bytes.

As a process (``python -m tests.bench.http_client PORT CLIENTS SECONDS DEFINITION BULK``) it triggers as fast as the
server answers, one run with each request or ``BULK`` of them, and prints how many runs a second that were.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import closing
from typing import Any

import uvloop

TRIGGER = """mutation ($input: TriggerTaskInput!) { triggerTask(input: $input) {
    __typename ... on TriggerTaskSuccess { run { id status createdAt } } } }"""
TRIGGERS = """mutation ($input: TriggerTasksInput!) { triggerTasks(input: $input) {
    ... on TriggerTasksSuccess { results { __typename ... on TriggerTaskSuccess { run { id } } } } } }"""
ABORT = "mutation ($input: AbortTaskInput!) { abortTask(input: $input) { __typename } }"


def encoded(method: str, path: str, body: bytes = b"", accept: str = "application/json") -> bytes:
    """A request as it goes over the wire."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def operation(document: str, **variables: Any) -> bytes:
    """The body of a GraphQL request."""
    return json.dumps({"query": document, "variables": variables}).encode()


async def request(port: int, method: str, path: str, body: bytes = b"") -> bytes:
    """The body of an answer, over a connection of its own."""
    connection = await Connection.open(port)
    with closing(connection):
        return await connection.ask(encoded(method, path, body))


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: Any = None

    @classmethod
    async def open(cls, port: int) -> Connection:
        """A connection to a port of this machine."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by asyncio: the answer is complete when as many bytes are there as it said."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) >= length and self._answer is not None:
            self._received.clear()
            self._answer.set_result(bytes(body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))

    def ask(self, data: bytes) -> asyncio.Future[bytes]:
        """Send a request; the future gives the body of the answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return self._answer

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


async def load(port: int, clients: int, seconds: float, definition: str, bulk: int = 1) -> float:
    """Runs triggered a second, by clients that send the next request as soon as the last one was answered.

    With ``bulk`` above 1, each request is a ``triggerTasks`` of so many.
    """
    one: dict[str, Any] = {"definitionId": definition}
    body = operation(TRIGGER, input=one) if bulk == 1 else operation(TRIGGERS, input={"tasks": [one] * bulk})
    data = encoded("POST", "/graphql", body)
    answered = 0

    async def client(deadline: float) -> None:
        nonlocal answered
        connection = await Connection.open(port)
        with closing(connection):
            while time.perf_counter() < deadline:
                answer = await connection.ask(data)
                assert answer.count(b"TriggerTaskSuccess") == bulk, answer[:2000]
                answered += bulk

    await asyncio.gather(*(client(time.perf_counter() + 0.5) for _ in range(clients)))
    answered, start = 0, time.perf_counter()
    await asyncio.gather(*(client(start + seconds) for _ in range(clients)))
    return answered / (time.perf_counter() - start)


if __name__ == "__main__":
    arguments = (int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
    print(uvloop.run(load(*arguments)))
