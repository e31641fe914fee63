"""Live updates: which runs changed, told over Redis. Rows come first; a message that is lost only delays.

One channel carries the ids of changed runs to every server. A channel for each worker carries the ids of runs that it
holds and that were asked to abort.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from app.doorbell import AWAY, connect
from app.errors import ServiceClosed
from app.patience import ANSWER_SECONDS

CHANGES = "taskloom:changes"
RECONNECT_SECONDS = 0.5
QUIET_SECONDS = 10.0
"""After so long a silence a listener asks whether Redis is still there."""


def worker_channel(owner: UUID) -> str:
    """The channel on which one worker process hears of aborts."""
    return f"taskloom:worker:{owner}"


def pack(run_ids: Iterable[UUID]) -> bytes:
    """Run ids as one message of 16 bytes each."""
    return b"".join(run_id.bytes for run_id in run_ids)


def unpack(message: bytes) -> set[UUID]:
    """The inverse of ``pack``."""
    return {UUID(bytes=message[start : start + 16]) for start in range(0, len(message) - 15, 16)}


class Subscription:
    """One listener's view of the changes: ``None`` in place of ids means "something was missed, look yourself"."""

    def __init__(self, run_ids: set[UUID] | None) -> None:
        self._interest = run_ids
        self._changed: set[UUID] = set()
        self._missed = False
        self._wake = asyncio.Event()

    def notify(self, run_ids: set[UUID] | None) -> None:
        """Take note of changed runs; ``None`` when the connection was lost meanwhile."""
        if run_ids is None:
            self._missed = True
        else:
            relevant = run_ids if self._interest is None else run_ids & self._interest
            if not relevant:
                return
            self._changed |= relevant
        self._wake.set()

    async def changed(self, timeout: float | None) -> set[UUID] | None:
        """The ids that changed since the last call; ``None`` after ``timeout`` seconds, if any, or when messages were
        missed.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        changed, missed = self._changed, self._missed
        self._changed, self._missed = set(), False
        self._wake.clear()
        return None if missed or not changed else changed


class Listener:
    """Listens on one channel as long as anybody is interested, and comes back after Redis was away."""

    def __init__(self, redis: Any, channel: str) -> None:
        self._redis = redis
        self._channel = channel
        self._subscriptions: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    @asynccontextmanager
    async def subscribe(self, run_ids: set[UUID] | None = None) -> AsyncGenerator[Subscription, None]:
        """Hear of these runs, or of all; the first call of ``changed`` may say ``None`` at once: look yourself.

        Raises ``ServiceClosed`` after the end, where a connection would be opened that nobody closes.
        """
        if self._is_closed:
            raise ServiceClosed
        subscription = Subscription(run_ids)
        self._subscriptions.add(subscription)
        if self._task is None:
            self._task = asyncio.create_task(self._listen())
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def close(self) -> None:
        """Stop listening, for good."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_until_lost()
            except AWAY:
                # Whoever listens looks into the rows by itself meanwhile, on its own timeout.
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen_until_lost(self) -> None:
        async with self._redis.pubsub(ignore_subscribe_messages=False) as pubsub:
            async with asyncio.timeout(ANSWER_SECONDS):
                await pubsub.subscribe(self._channel)
            while True:
                message = await _hear(pubsub)
                if message["type"] == "message":
                    self._notify(unpack(message["data"]))
                elif message["type"] == "subscribe":
                    # From this moment on nothing is missed, but until now something may have been.
                    self._notify(None)

    def _notify(self, run_ids: set[UUID] | None) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.notify(run_ids)


async def _hear(pubsub: Any) -> dict[str, Any]:
    """What comes next on a connection, however late; in a silence that is the answer to a question, or an error:
    a connection may die without a word.
    """
    if message := await pubsub.get_message(timeout=QUIET_SECONDS):
        return message
    async with asyncio.timeout(ANSWER_SECONDS):
        await pubsub.ping()
        while not (message := await pubsub.get_message(timeout=None)):
            pass
    return message


class Events:
    """Publishes and hears changes. Publishing never fails: readers look into the rows by themselves as well."""

    def __init__(self, redis_url: str) -> None:
        self._redis: Any = connect(redis_url)
        self._changes = Listener(self._redis, CHANGES)

    async def publish(self, run_ids: Iterable[UUID]) -> None:
        """Tell every server that these runs changed; call it after the commit."""
        message = pack(run_ids)
        if message:
            with contextlib.suppress(*AWAY):
                await self._redis.publish(CHANGES, message)

    async def tell_abort(self, held: Iterable[tuple[UUID, UUID]]) -> None:
        """Tell workers of aborts: pairs of lease owner and run id. A worker that hears nothing finds out by itself."""
        by_owner: dict[UUID, list[UUID]] = {}
        for owner, run_id in held:
            by_owner.setdefault(owner, []).append(run_id)
        with contextlib.suppress(*AWAY):
            for owner, run_ids in by_owner.items():
                await self._redis.publish(worker_channel(owner), pack(run_ids))

    def subscribe(self, run_ids: set[UUID] | None = None) -> contextlib.AbstractAsyncContextManager[Subscription]:
        """Hear of changes of these runs, or of all runs."""
        return self._changes.subscribe(run_ids)

    def worker_listener(self, owner: UUID) -> Listener:
        """The listener on a worker's own channel; its user closes it."""
        return Listener(self._redis, worker_channel(owner))

    async def close(self) -> None:
        """Stop listening and close the connections."""
        await self._changes.close()
        await self._redis.aclose()
