"""Worker processes: Taskloom's own, and what arq's stock command needs (``arq workers.main.WorkerSettings``)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Coroutine
from dataclasses import fields, replace
from typing import Any
from uuid import UUID

from arq.connections import RedisSettings
from arq.constants import in_progress_key_prefix, job_key_prefix
from arq.worker import func

from app import garbage
from app.doorbell import AWAY, JOB_FUNCTION, connect, deserialize, queue_key, serialize
from app.registry import registry
from app.settings import Settings, get_settings
from workers import metrics_port
from workers.engine import Engine
from workers.worker import TaskloomWorker

logger = logging.getLogger("taskloom.worker")

LONGEST_JOB_SECONDS = 366 * 86400


def run_worker(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT has drained it; a second signal gives its runs back at once."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        _run_to_the_end(runner.get_loop(), serve(settings))


def _run_to_the_end(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine; a SystemExit or KeyboardInterrupt of anything else on the loop ends that alone.

    asyncio lets these two out of the loop, whichever task they were raised in: a ``sys.exit()`` in a task that a run
    started would end the worker with all its other runs. The one who awaits that task learns of it all the same.
    """
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt) as error:
            if task.done():
                raise
            logger.error("Task code raised %s in a task of its own; the worker goes on.", type(error).__name__)


async def serve(settings: Settings) -> None:
    """Load the definitions, then execute runs until a signal asks to stop. Raises ``CannotListen``."""
    registry.load(settings.task_modules)
    with metrics_port.serving(settings):
        worker = TaskloomWorker(Engine(settings))
        garbage.leave_alone_what_stays(garbage.WORKER_THRESHOLD)
        _stop_on_signals(worker)
        try:
            await worker.async_run()
        finally:
            await worker.close()


def _stop_on_signals(worker: TaskloomWorker) -> None:
    asked = False

    def stop() -> None:
        nonlocal asked
        if asked:
            worker.engine.runner.release()
        asked = True
        worker.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)


# arq's stock worker: one poll and four round trips a job, but the same runs, claims and leases.


async def execute_run(ctx: dict[Any, Any], run_id: str, claim_no: int) -> None:
    """Execute one run for arq's stock worker. A run that is not due any more is left alone."""
    engine: Engine = ctx["engine"]
    asked = time.monotonic()
    rows = await engine.lifecycle.claim_rung([f"{UUID(run_id)}:{claim_no}"])
    for task in engine.runner.start_claimed(rows, asked):
        try:
            await _take_ring_away(ctx, engine.settings)
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # arq cancels its jobs at SIGTERM; the run is given back and uses up no attempt.
            engine.runner.release()
            await task


async def _take_ring_away(ctx: dict[Any, Any], settings: Settings) -> None:
    """Take away the ring of a claimed run, which arq keeps as long as its job lasts, and a killed worker for a year.

    arq's stock workers read some hundreds of the oldest rings at a time: those of killed ones would be all they see.
    """
    job_id = ctx["job_id"]
    with contextlib.suppress(*AWAY):
        async with ctx["redis"].pipeline(transaction=True) as pipe:
            pipe.zrem(queue_key(_only_queue(settings)), job_id)
            pipe.delete(job_key_prefix + job_id, in_progress_key_prefix + job_id)
            await pipe.execute()


async def _on_startup(context: dict[Any, Any]) -> None:
    settings = get_settings()
    registry.load(settings.task_modules)
    context["engine"] = Engine(settings)
    await context["engine"].start()


async def _on_shutdown(context: dict[Any, Any]) -> None:
    await context["engine"].drain()
    await context["engine"].stop()


def _only_queue(settings: Settings) -> str:
    """The queue that arq's stock worker serves. Raises ``ValueError`` for several, of which it would serve one."""
    if len(settings.queues) == 1:
        return settings.queues[0]
    raise ValueError(
        f"arq's stock worker serves one queue, and TASKLOOM_QUEUES names {len(settings.queues)}: "
        f"{', '.join(settings.queues)}. Start one for each of them, or `taskloom worker`, which serves them all."
    )


def _redis_settings(url: str) -> RedisSettings:
    """What the URL says; arq's own reading leaves out options such as ``ssl_ca_certs``, and that ``%2F`` is ``/``."""
    pool: Any = connect(url).connection_pool
    known = {field.name for field in fields(RedisSettings)}
    told = {name: value for name, value in pool.connection_kwargs.items() if name in known}
    return replace(RedisSettings.from_dsn(url), **told)


def _worker_settings() -> type:
    settings = get_settings()
    return type(
        "WorkerSettings",
        (),
        {
            "functions": [func(execute_run, name=JOB_FUNCTION, max_tries=1, keep_result=0)],
            "queue_name": queue_key(_only_queue(settings)),
            "redis_settings": _redis_settings(settings.redis_url),
            "on_startup": _on_startup,
            "on_shutdown": _on_shutdown,
            "max_jobs": settings.concurrency,
            "job_timeout": LONGEST_JOB_SECONDS,
            "keep_result": 0,
            "max_tries": 1,
            "allow_abort_jobs": False,
            "job_serializer": serialize,
            "job_deserializer": deserialize,
        },
    )


def __getattr__(name: str) -> Any:
    """``WorkerSettings`` is made when arq asks for it, so that importing this module reads no settings."""
    if name == "WorkerSettings":
        return _worker_settings()
    raise AttributeError(name)
