"""One worker process put together: its connections, its identity, and the parts that execute, listen and keep house."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket

from app import batches, definitions, tables
from app.db import NOT_MIGRATED, complaint, is_disconnect, is_unmigrated
from app.errors import ServiceUnavailable
from app.ids import new_id
from app.leases import Claimant
from app.registry import Registry, registry
from app.service import TaskService
from app.settings import Settings
from workers import capture, forks
from workers.clockwork import Clockwork
from workers.connections import Connections
from workers.lease import LeaseKeeper
from workers.recorder import Recorder
from workers.runner import Runner

logger = logging.getLogger("taskloom.worker")

ABORT_POLL_SECONDS = 1.0
"""How late an abort is noticed at the most when its message was lost."""
PUBLISH_AGAIN_SECONDS = 0.2


class Engine:
    """Everything of a worker but how it hears that a run is due. ``start`` it, hand it rows, ``stop`` it."""

    def __init__(self, settings: Settings, registry: Registry = registry) -> None:
        self.settings = settings
        self.claimant = Claimant(
            owner=new_id(),
            name=f"{socket.gethostname()}:{os.getpid()}",
            queues=tuple(settings.queues),
            definition_ids=tuple(sorted(definition.id for definition in registry)),
            limits={definition.id: definition.limits for definition in registry if definition.limits},
            retries={definition.id: definition.retry for definition in registry},
        )
        self._registry = registry
        self._connections = Connections.open(settings, pool_size=settings.database_pool_size)
        self.clockwork = Clockwork(self._connections.db.clock)
        self.lifecycle = self._connections.lifecycle(settings, self.claimant, lambda: self.runner.claims)
        recorder = Recorder(self.lifecycle)
        self._service = TaskService(
            self._connections.db, self._connections.doorbell, self._connections.events, settings, registry
        )
        self.runner = Runner(registry, recorder, self._service, settings, self.clockwork)
        self.keeper = LeaseKeeper(settings, self.claimant, self.runner, self.clockwork, registry)
        self._listening: tuple[asyncio.Task[None], ...] = ()

    async def start(self) -> None:
        """Wait for the database, publish the definitions, take the lease, and begin to listen for aborts."""
        await self._publish_definitions()
        capture.install()
        forks.guard(self.settings)
        await self.keeper.begin()
        self._listening = (
            asyncio.create_task(self._listen_for_aborts()),
            asyncio.create_task(self._complete_batches()),
        )

    async def _publish_definitions(self) -> None:
        """Publish the definitions, as soon as the database answers and has the tables of this version."""
        told = ""
        while True:
            await self.lifecycle.until_database_answers()
            try:
                await tables.check(self._connections.db)
                await definitions.publish(self._connections.db, self._registry)
                break
            except Exception as error:
                told = _told_once(error, told)
                await asyncio.sleep(PUBLISH_AGAIN_SECONDS)
        if told:
            logger.info("The database is ready.")

    async def drain(self) -> None:
        """Let runs reach a checkpoint for the drain time of the settings, then give the rest back."""
        self.keeper.is_draining = True
        self.runner.ask_release()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_seconds):
                await self.runner.until_idle()
        self.runner.release()
        await self.runner.until_idle()

    async def stop(self) -> None:
        """Give up the lease and close the connections; call it after ``drain``."""
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        await self.keeper.end()
        # What the drain gave back is rung for at once, and not only when another worker misses the ring.
        await self.lifecycle.all_told()
        await self._connections.close()

    async def _listen_for_aborts(self) -> None:
        """Notice aborts: at once when told, within a second when the message was lost."""
        listener = self._connections.events.worker_listener(self.claimant.owner)
        try:
            async with listener.subscribe() as subscription:
                while True:
                    await subscription.changed(ABORT_POLL_SECONDS)
                    if self.runner.running:
                        await self._look_for_aborts()
        finally:
            await listener.close()

    async def _look_for_aborts(self) -> None:
        try:
            self.runner.ask_aborts(await self.lifecycle.aborting())
        except Exception as error:
            logger.warning("Aborts cannot be looked up (%s); trying again.", error)

    async def _complete_batches(self) -> None:
        """Trigger what follows batches. Here and not beside the lease, because it may call code of definitions."""
        failing = False
        while True:
            try:
                async with self._connections.db.autocommit() as pipe:
                    some = await batches.any_open(pipe)
                # Most workers never see one, and are spared the code of it.
                if some:
                    await self._service.batches.complete_due()
                failing = False
            except Exception as error:
                if not failing:
                    logger.warning("Batches cannot be completed (%s); trying again.", error)
                failing = True
            await asyncio.sleep(self.settings.dispatch_seconds)


def _told_once(error: Exception, told: str) -> str:
    """Say what the worker waits for, unless ``told`` has said it, and return that. Raises what it does not wait for."""
    if is_unmigrated(error):
        waits = NOT_MIGRATED
    elif isinstance(error, ServiceUnavailable) or is_disconnect(error):
        said = complaint(error)
        waits = f"PostgreSQL answers, but cannot be used just now: {said}. Waiting for it." if said else told
    else:
        raise error
    if waits != told:
        logger.warning(waits)
    return waits
