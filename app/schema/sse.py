"""Answers as server-sent events: the graphql-sse protocol in its "distinct connections" mode.

Each answer is an event ``next``, the end is an event ``complete``; lines end with LF (WHATWG HTML, 9.2).
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
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


async def event_stream(
    first: Answer | None, answers: AsyncGenerator[Answer, None], heartbeat: float = HEARTBEAT_SECONDS
) -> AsyncGenerator[bytes, None]:
    """The bytes of the stream: the first answer, those that follow, and a comment after ``heartbeat`` idle seconds."""
    async with aclosing(answers):
        while first is not None:
            yield _event(first)
            following = asyncio.ensure_future(anext(answers, None))
            try:
                while not (await asyncio.wait({following}, timeout=heartbeat))[0]:
                    yield _HEARTBEAT
                first = following.result()
            finally:
                await _stop(following)
        yield _COMPLETE


async def _stop(task: asyncio.Future[Answer | None]) -> None:
    """End a read that nobody waits for any more, so that the subscription's own clean-up has run."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})


def _event(answer: Answer) -> bytes:
    return b"event: next\ndata: " + orjson.dumps(answer.payload) + b"\n\n"
