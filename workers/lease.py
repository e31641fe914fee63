"""The lease, and the housekeeping of all runs, in a thread of their own: task code that blocks the event loop does not
stop the heartbeat, and does not keep due runs from being rung or lost ones from being found.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from app import clock, metrics
from app.db import Database, complaint, is_disconnect
from app.leases import Claimant
from app.lifecycle import Lifecycle
from app.registry import Registry
from app.rollups import Rollups
from app.settings import Settings
from workers import owed, partitioner, summariser, watchdog
from workers.clockwork import Clockwork
from workers.connections import Connections
from workers.dispatcher import Dispatcher
from workers.partitioner import Partitioner
from workers.reaper import Reaper
from workers.scheduler import Scheduler, ticking_beside
from workers.summariser import Summariser
from workers.watchdog import Watchdog

if TYPE_CHECKING:
    from workers.runner import Runner

logger = logging.getLogger("taskloom.lease")

COUNT_SECONDS, FORGET_SECONDS = 5.0, 3600.0
"""How often final runs are counted for statistics, and how often counts are deleted that are too fine to be kept."""
ABORTS_SECONDS = 1.0
"""How often processes of aborted runs are looked for: they take 2 s to end, and a forced abort is final after 5 s."""
Chore = tuple[float, Callable[[], Awaitable[object]]]
"""Every how many seconds something is done, and what."""
EXIT_CODE = 70
"""How a worker ends whose lease nobody renews any more."""
RETRY_SECONDS = 1.0
HOUSEKEEPING_CONNECTIONS = 5
BEAT_SHARE = 1 / 6
"""How much of the lease a heartbeat waits for an answer, and as long again for its connection to call it off.

Past that it opens another connection. With three heartbeats to a lease there is time enough left for that.
"""


class LeaseKeeper:
    """Holds this process's lease by a heartbeat, and runs the dispatcher, the reaper and the scheduler beside it."""

    def __init__(
        self, settings: Settings, claimant: Claimant, runner: Runner, clockwork: Clockwork, registry: Registry
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._claimant = claimant
        self._runner = runner
        self._clockwork = clockwork
        self.is_draining = False
        self._watchdog = Watchdog(runner)
        self._ending: asyncio.TimerHandle | None = None
        self._main_loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_held(self) -> bool:
        """Whether the lease has been taken."""
        return self._loop is not None

    async def begin(self) -> None:
        """Start the thread; returns when the lease is held."""
        self._main_loop = asyncio.get_running_loop()
        self._watchdog.begin()
        held: asyncio.Future[None] = self._main_loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(held,), name="taskloom-lease", daemon=True)
        self._thread.start()
        await held

    async def end(self) -> None:
        """Give up the lease and end the thread."""
        if self._loop is not None and self._stopped is not None and self._thread is not None:
            with contextlib.suppress(RuntimeError):  # The thread's loop has ended already.
                self._loop.call_soon_threadsafe(self._stopped.set)
            await asyncio.to_thread(self._thread.join, 5.0)

    def _run(self, held: asyncio.Future[None]) -> None:
        """The thread. Should it end without being told to, so does the worker: it would never have a lease again."""
        try:
            asyncio.run(self._keep(held))
        except BaseException as error:
            if not self.is_held:
                self._call(held.set_exception, error)
            elif self._stopped is None or not self._stopped.is_set():
                logger.critical("The thread that renews the lease has ended; the worker ends with it.", exc_info=True)
                # At once, because the event loop may be stuck, or wait for a run that never ends.
                os._exit(EXIT_CODE)

    async def _keep(self, held: asyncio.Future[None]) -> None:
        connections = Connections.open(self._settings, pool_size=HOUSEKEEPING_CONNECTIONS)
        lifecycle = connections.lifecycle(self._settings, self._claimant)
        # A connection for the heartbeat alone: chores that are stuck together would keep all of theirs from it.
        patience = self._settings.lease_seconds * BEAT_SHARE
        own = replace(connections, db=Database(self._settings.database_url, pool_size=1, answer_seconds=patience))
        heart = own.lifecycle(self._settings, self._claimant)
        self._stopped = asyncio.Event()
        await self._beat_at_last(heart)
        self._loop = asyncio.get_running_loop()
        self._call(held.set_result, None)
        chores = self._chores(connections, lifecycle, heart)
        tasks = [asyncio.create_task(_repeat(interval, chore)) for interval, chore in chores]
        stopped = asyncio.create_task(self._stopped.wait())
        ended, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if stopped not in ended:
            # No chore ever ends by itself: what it ended with ends all.
            ended.pop().result()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(Exception):
            await heart.leave()
        await own.db.close()
        await connections.close()

    def _chores(self, connections: Connections, lifecycle: Lifecycle, heart: Lifecycle) -> Sequence[Chore]:
        """What is done beside the runs, and how often."""
        rollups = Rollups(connections.db)
        dispatcher = Dispatcher(lifecycle, self._runner)
        reaper = Reaper(lifecycle, self._runner, self._settings.lease_seconds, self._settings.heartbeat_seconds)
        return (
            (self._settings.heartbeat_seconds, lambda: self._beat(heart)),
            (self._settings.dispatch_seconds, dispatcher.run_once),
            (self._settings.dispatch_seconds, dispatcher.ring_lost),
            (self._settings.reap_seconds, reaper.run_once),
            (self._settings.dispatch_seconds, self._scheduler(connections).run_once),
            (summariser.LOOK_SECONDS, Summariser(connections.db).run_once),
            (COUNT_SECONDS, rollups.catch_up),
            (FORGET_SECONDS, rollups.forget),
            (watchdog.LOOK_SECONDS, self._watchdog.look),
            (owed.GIVE_BACK_SECONDS, lambda: self._runner.owed.give_back(lifecycle.put_off)),
            (ABORTS_SECONDS, lambda: self._end_processes_of_aborted(lifecycle)),
            (partitioner.LOOK_SECONDS, Partitioner(connections.db).run_once),
        )

    def _scheduler(self, connections: Connections) -> Scheduler:
        assert self._main_loop is not None
        there = (connections.db, connections.doorbell, connections.events)
        here = (self._main_loop, self._settings, self._registry)
        return Scheduler(connections.db, lambda: ticking_beside(*here, *there))

    async def _beat_at_last(self, lifecycle: Lifecycle) -> None:
        """Take the lease, however often the connection is lost over it."""
        while True:
            await lifecycle.until_database_answers()
            try:
                if not await self._beat(lifecycle):
                    return
            except Exception as error:
                if not is_disconnect(error):
                    raise

    async def _beat(self, lifecycle: Lifecycle) -> bool:
        """Renew the lease, unless the event loop has been stuck for so long that others should take its runs.

        Returns whether that is to be tried again at once: the loop may turn again.
        """
        if (stuck := self._watchdog.stuck_seconds) > self._settings.stall_seconds:
            logger.error("The event loop has been stuck for %.0f s; the lease is not renewed.", stuck)
            metrics.LEASE_RENEWALS.labels("withheld").inc()
            await self._watchdog.until_it_turns(self._settings.heartbeat_seconds)
            return True
        asked, asked_at = time.monotonic(), clock.now()
        try:
            now = await lifecycle.beat(
                socket.gethostname(), os.getpid(), self._settings.concurrency, self._runner.executing,
                draining=self.is_draining,
            )  # fmt: skip
        except Exception:
            metrics.LEASE_RENEWALS.labels("failed").inc()
            raise
        metrics.LEASE_RENEWALS.labels("renewed").inc()
        metrics.LEASE_RENEWED.set(now.timestamp())
        self._renew(asked + self._settings.lease_seconds)
        self._clockwork.set_by(now, asked_at)
        return False

    async def _end_processes_of_aborted(self, lifecycle: Lifecycle) -> None:
        """The runner does so as well, unless the event loop is stuck; a reaper makes these runs final all the same."""
        if self._runner.leashes.are_held:
            self._runner.end_processes_of(await lifecycle.aborting())

    def _renew(self, until: float) -> None:
        """The lease is valid until then; when that is over the runs are stopped, whatever becomes of the next beat."""
        term = self._runner.term
        if self._ending is not None:
            self._ending.cancel()
            if term.is_over:
                self._lapse()
        was_over = term.is_over
        term.renew(until)
        self._runner.leashes.renew(until)
        self._ending = asyncio.get_running_loop().call_later(until - time.monotonic(), self._lapse)
        if was_over:
            self._call(self._runner.room.set)

    def _lapse(self) -> None:
        """The lease is over, and others may execute our runs: stop them here, once, as soon as the event loop turns."""
        self._ending = None
        self._runner.term.end()
        if self._runner.running:
            logger.error("The lease could not be renewed in time; its runs are given back.")
        self._call(self._runner.release)

    def _call(self, function: Callable[..., object], *args: object) -> None:
        assert self._main_loop is not None
        with contextlib.suppress(RuntimeError):  # The loop is closed: the worker ends.
            self._main_loop.call_soon_threadsafe(function, *args)


async def _repeat(interval: float, chore: Callable[[], Awaitable[object]]) -> None:
    """Do a chore every ``interval`` seconds; at once again when there was more to do, sooner after a failure."""
    failing = False
    while True:
        try:
            again = await chore()
            failing = False
            await asyncio.sleep(0 if again else interval)
        except Exception as error:
            if not failing:
                said = complaint(error) or str(error) or type(error).__name__
                logger.warning("%s; trying again every second.", said)
            failing = True
            await asyncio.sleep(min(interval, RETRY_SECONDS))
