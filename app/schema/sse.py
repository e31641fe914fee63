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


async def event_stream(
    first: Answer | None, answers: AsyncGenerator[Answer, None], heartbeat: float = HEARTBEAT_SECONDS
) -> AsyncGenerator[bytes, None]:
    """The bytes of the stream: the first answer, those that follow, and a comment after ``heartbeat`` idle seconds."""
    following: asyncio.Future[Answer | None] | None = None
    try:
        while first is not None:
            yield _event(first)
            following = asyncio.ensure_future(anext(answers, None))
            while not (await asyncio.wait({following}, timeout=heartbeat))[0]:
                yield _HEARTBEAT
            first = following.result()
        yield _COMPLETE
    finally:
        # In a task of its own: of a client that has gone, whatever waits in here is cancelled again at every turn.
        ending = asyncio.ensure_future(_end(following, answers))
        _endings.add(ending)
        ending.add_done_callback(_endings.discard)
        await asyncio.shield(ending)


async def _end(following: asyncio.Future[Answer | None] | None, answers: AsyncGenerator[Answer, None]) -> None:
    """End a read that nobody waits for any more, and let the subscription clean up."""
    if following is not None and not following.done():
        following.cancel()
        await asyncio.wait({following})
    await answers.aclose()


def _event(answer: Answer) -> bytes:
    return b"event: next\ndata: " + orjson.dumps(answer.payload) + b"\n\n"
