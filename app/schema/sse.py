"""Answers as server-sent events: the graphql-sse protocol in its "distinct connections" mode.

Each answer is an event ``next``, the end is an event ``complete``; lines end with LF (WHATWG HTML, 9.2).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from app.schema.execution import Answer

HEARTBEAT_SECONDS = 15.0
"""After so long without an event a comment is sent, so that no proxy takes the connection for dead."""

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}
_COMPLETE = b"event: complete\ndata:\n\n"
_HEARTBEAT = b":\n\n"
_endings: set[asyncio.Future[None]] = set()
"""Streams that clean up: a task that nobody holds may be collected before its end."""


class EventStreams:
    """The streams of one server."""

    def __init__(self) -> None:
        self._reads: set[asyncio.Future[Answer | None]] = set()
        self._are_over = False

    def end(self) -> None:
        """Break off all streams, because the server stops; its clients come back and find another one."""
        self._are_over = True
        for read in self._reads:
            read.cancel()

    async def of(
        self, answers: AsyncGenerator[Answer, None], heartbeat: float = HEARTBEAT_SECONDS
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a stream: the answers, a comment after every ``heartbeat`` idle seconds, and the end.

        One that is broken off has no ``complete``.
        """
        following: asyncio.Future[Answer | None] | None = None
        try:
            while not self._are_over:
                following = self._read(answers)
                while not (await asyncio.wait({following}, timeout=heartbeat))[0]:
                    yield _HEARTBEAT
                if following.cancelled():
                    return
                answer = following.result()
                if answer is None:
                    yield _COMPLETE
                    return
                yield _event(answer)
        finally:
            # In a task of its own: of a client that has gone, whatever waits in here is cancelled again at every turn.
            ending = asyncio.ensure_future(_end(following, answers))
            _endings.add(ending)
            ending.add_done_callback(_endings.discard)
            await asyncio.shield(ending)

    def _read(self, answers: AsyncGenerator[Answer, None]) -> asyncio.Future[Answer | None]:
        read = asyncio.ensure_future(anext(answers, None))
        self._reads.add(read)
        read.add_done_callback(self._reads.discard)
        return read


async def _end(following: asyncio.Future[Answer | None] | None, answers: AsyncGenerator[Answer, None]) -> None:
    """End a read that nobody waits for any more, and let the subscription clean up."""
    if following is not None and not following.done():
        following.cancel()
        await asyncio.wait({following})
    await answers.aclose()


def _event(answer: Answer) -> bytes:
    return b"event: next\ndata: " + orjson.dumps(answer.payload) + b"\n\n"
