"""Batches at the edges: what arrives while one flush is under way goes out together with the next.

There is no timer: an item that arrives alone is flushed at once, and under load the batches grow by themselves to what
arrives during one flush. (PostgreSQL's own group commit works alike: see ``commit_delay`` in its manual.)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from enum import Enum
from typing import Any, Generic, TypeVar, cast

Item = TypeVar("Item")
Result = TypeVar("Result")


class Again(Enum):
    """The answer of a flush to an item of which it did only a part: it comes again with the next batch."""

    AGAIN = "again"


AGAIN = Again.AGAIN


class Batcher(Generic[Item, Result]):
    """Collects items for ``flush``, which takes up to ``limit`` of them and answers each, in order.

    An answer that is an exception is raised for the one who submitted that item; an exception raised by ``flush``
    itself is raised for all of its items. ``AGAIN`` is no answer yet.
    """

    def __init__(
        self, flush: Callable[[list[Item]], Awaitable[Sequence[Result | Exception | Again]]], limit: int = 500
    ) -> None:
        self._flush = flush
        self._limit = limit
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many items wait for the next flush; those of the one under way do not count."""
        return len(self._waiting)

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Put an item into the next batch; await the returned future for its answer."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._loop_task is None:
            # In a context of its own: the flushes work for everybody, not for the one who happened to come first.
            self._loop_task = asyncio.get_running_loop().create_task(self._run(), context=Context())
        return future

    async def _run(self) -> None:
        """Flush until nothing waits any more."""
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
                await self._answer(batch)
        finally:
            self._loop_task = None

    async def _answer(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            answers = await self._flush([item for item, _ in batch])
        except BaseException as error:
            for _, future in batch:
                _refuse(future, error)
            if not isinstance(error, Exception):
                raise
            return
        for (item, future), answer in zip(batch, answers, strict=True):
            if answer is AGAIN:
                self._waiting.append((item, future))
            elif isinstance(answer, Exception):
                _refuse(future, answer)
            elif not future.done():
                future.set_result(cast(Result, answer))


def _refuse(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        # A caller that was cancelled meanwhile never looks: that is no unhandled error.
        future.exception()
