"""``TaskService``: everything a client may ask of Taskloom, without HTTP."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from app.auth import LOCAL_ADMIN, Principal
from app.db import CALLER_SECONDS, Database
from app.doorbell import Doorbell
from app.errors import TaskError
from app.events import Events
from app.models import TaskLog, TaskLogLevel, TaskRun
from app.registry import Registry, registry
from app.run_filters import RunFilter
from app.service.aborting import Aborting
from app.service.areas import Areas
from app.service.declared import refusing
from app.service.known import KnownDefinitions
from app.service.preparing import Preparing
from app.service.purging import PurgePosition, PurgeRequest, PurgeResult, Purging
from app.service.reading import Reading
from app.service.repeating import Pause
from app.service.requests import UNSET, Duration, RerunFrom, Triggered, TriggerRequest, UniquePolicy, Unset, in_seconds
from app.service.rerunning import Rerunning
from app.service.triggering import Triggering
from app.service.watching import Watching
from app.settings import Settings, get_settings
from app.states import FINAL

CLOSE_SECONDS = 2.0


class TaskService(Areas, Reading):
    """What a client may ask: trigger, watch, abort and read runs. One per process; safe for concurrent use.

    Its connections belong to the event loop that uses it first: another loop needs a service of its own. Every method
    takes its own transaction. What was returned as triggered or aborted is committed. All methods may raise
    ``ServiceUnavailable`` when the database is away; without Redis they work, and runs start a little later.

    Example:
        async with TaskService.connect() as tasks:
            run = await tasks.trigger("checksum-tree", input={"root": "/data"}, delay=timedelta(minutes=5))
            run = await tasks.wait(run.id, timeout=timedelta(minutes=10))
    """

    def __init__(
        self,
        db: Database,
        doorbell: Doorbell,
        events: Events,
        settings: Settings,
        registry: Registry = registry,
        principal: Principal = LOCAL_ADMIN,
    ) -> None:
        self._principal = principal
        self._events = events
        known = KnownDefinitions(db, registry)
        super().__init__(db, settings, known)
        self._preparing = Preparing(db, settings, known)
        self._triggering = Triggering(db, doorbell, events, settings, self._preparing)
        self._rerunning = Rerunning(self, self._triggering)
        self._aborting = Aborting(db, events)
        self._purging = Purging(db)
        self._watching = Watching(db, events, self)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        database_url: str | None = None,
        redis_url: str | None = None,
        *,
        settings: Settings | None = None,
        principal: Principal = LOCAL_ADMIN,
    ) -> AsyncGenerator[TaskService, None]:
        """A service with connections of its own, closed at the end of the block: then it raises ``ServiceClosed``.

        Args:
            database_url: PostgreSQL; by default ``DATABASE_URL``.
            redis_url: Redis or Valkey; by default ``REDIS_URL``.
            settings: by default those of the environment.
            principal: who is asking, where a method is not told otherwise.

        Example:
            async with TaskService.connect() as tasks:
                print(await tasks.workers())
        """
        settings = settings or get_settings()
        db = Database(
            database_url or settings.database_url,
            pool_size=settings.database_pool_size,
            query_seconds=settings.query_seconds,
            answer_seconds=CALLER_SECONDS,
        )
        doorbell, events = Doorbell(redis_url or settings.redis_url), Events(redis_url or settings.redis_url)
        service = cls(db, doorbell, events, settings, principal=principal)
        try:
            yield service
        finally:
            await service.finish_telling()
            await events.close()
            await doorbell.close()
            await db.close()

    async def finish_telling(self) -> None:
        """Wait (up to two seconds) until all that was triggered has been rung; call it before closing the doorbell."""
        await self._triggering.finish_telling(CLOSE_SECONDS)

    # Triggering.

    async def trigger(
        self,
        definition_id: str,
        *,
        input: Any = None,
        name: str | None = None,
        delay: Duration | None = None,
        start_at: datetime | None = None,
        priority: int | None = None,
        tags: Sequence[str] = (),
        queue: str | None = None,
        parent: TaskRun | UUID | str | None = None,
        timeout: Duration | None = None,
        max_attempts: int | None = None,
        ttl: Duration | None = None,
        idempotency_key: str | None = None,
        unique_key: str | None = None,
        unique_policy: UniquePolicy | str | None = None,
        principal: Principal | None = None,
    ) -> TaskRun:
        """Trigger a run of a definition; when this returns, the run is committed.

        Args:
            definition_id: which definition, as in ``"checksum-tree"``.
            input: a JSON value or a Pydantic model that fits the definition's input; None means ``{}``.
            name: what people see, up to 200 characters; by default the definition's title.
            delay: how long from now it may start at the earliest (``timedelta`` or seconds); not with ``start_at``.
            start_at: when it may start at the earliest, with a timezone.
            priority: -1000 to 1000, higher runs earlier; by default the definition's.
            tags: up to 50 different words.
            queue: which workers execute it; by default the definition's.
            parent: the run it belongs to; aborting that one aborts it too.
            timeout: the longest time for one attempt at one iteration (``timedelta`` or seconds).
            max_attempts: 1 to 1000, the first try included; by default the definition's.
            ttl: it expires when it has not started this long after its start time (``timedelta`` or seconds).
            idempotency_key: triggering again with this key and the same input gives the same run.
            unique_key: at most one live run of the definition holds this key.
            unique_policy: while another one does, REJECT (the default) refuses the trigger, RETURN_EXISTING gives that
                run, and REPLACE aborts it; the new one starts when that has stopped.
            principal: who asks; by default the service's own.

        Raises:
            InvalidArgument, TaskDefinitionNotFound, InvalidTaskInput, TaskRunNotFound (the parent), TriggerRefused,
            ParentAborted, CodeNotLoaded, IdempotencyConflict, UniqueConflict, QueueFull, ServiceUnavailable.

        Example:
            run = await tasks.trigger("checksum-tree", input={"root": "/data"}, name="Nightly", tags=["nightly"])
        """
        request = TriggerRequest(
            definition_id=definition_id,
            input=input,
            name=name,
            delay=delay,
            start_at=start_at,
            priority=priority,
            tags=tags,
            queue=queue,
            parent_id=parent.id if isinstance(parent, TaskRun) else parent,
            timeout=timeout,
            max_attempts=max_attempts,
            ttl=ttl,
            idempotency_key=idempotency_key,
            unique_key=unique_key,
            unique_policy=unique_policy,
        )
        return (await self.submit(request, principal=principal)).run

    async def trigger_many(self, requests: Sequence[TriggerRequest]) -> builtins.list[Triggered | TaskError]:
        """Trigger many runs at once: for each request, in order, its run or its refusal.

        One bad request refuses none of the others. Raises ``InvalidArgument`` for more requests than
        ``TASKLOOM_MAX_BULK_ITEMS``; the errors of ``trigger`` are in the answer instead.

        Example:
            answers = await tasks.trigger_many([TriggerRequest(definition_id="ping", input={"n": n}) for n in range(9)])
        """
        return await self.submit_many(requests)

    async def submit(
        self,
        request: TriggerRequest,
        *,
        principal: Principal | None = None,
        allow_private: bool = True,
        pause: Pause | None = None,
    ) -> Triggered:
        """``trigger`` for an edge: takes a request and who asks, and says whether an earlier run was given.

        Raises what ``trigger`` raises; a private definition is not found unless ``allow_private``. With a ``pause``,
        which is awaited before each new try, ``ServiceUnavailable`` is not raised but waited out.

        Example:
            triggered = await tasks.submit(TriggerRequest(definition_id="ping"), principal=viewer, allow_private=False)
        """
        by = self._by(principal)
        return await self._triggering.submit(request, by, allow_private=allow_private, pause=pause)

    async def submit_many(
        self,
        requests: Sequence[TriggerRequest],
        *,
        principal: Principal | None = None,
        allow_private: bool = True,
    ) -> builtins.list[Triggered | TaskError]:
        """``trigger_many`` for an edge.

        Example:
            answers = await tasks.submit_many(requests, principal=viewer, allow_private=False)
        """
        return await self._triggering.submit_many(requests, self._by(principal), allow_private=allow_private)

    async def rerun(
        self,
        run_id: UUID | str,
        *,
        input: Any | Unset = UNSET,
        from_: RerunFrom = RerunFrom.START,
        principal: Principal | None = None,
        allow_private: bool = True,
    ) -> TaskRun:
        """Trigger a new run like an earlier one, which stays as it is.

        It has the same name, queue, priority, tags, timeout, attempts and parent (unless that was aborted or purged),
        and is due at once. With ``LAST_STATE`` it goes on in the iteration and from the state that the earlier run had
        reached, with the definition's whole budget of iterations ahead of it.

        Args:
            run_id: the earlier run.
            input: another input; by default the same. None means ``{}``.
            from_: ``START``, or ``LAST_STATE`` for a final run.
            principal: who asks.

        Raises:
            TaskRunNotFound, TaskRunNotFinal, and what ``trigger`` raises.

        Example:
            again = await tasks.rerun(run.id, from_=RerunFrom.LAST_STATE)
        """
        by = self._by(principal)
        return (await self._rerunning.rerun(run_id, input, from_, by, allow_private=allow_private)).run

    @refusing
    async def abort(
        self,
        run_id: UUID | str,
        *,
        message: str | None = None,
        cascade: bool = True,
        force: bool = False,
        principal: Principal | None = None,
    ) -> TaskRun:
        """Abort a run; returns how it stands afterwards.

        A run that no worker holds is ABORTED at once. One that a worker holds is ABORTING until its next checkpoint.
        Asking again changes nothing, unless ``force`` is new.

        Args:
            run_id: the run.
            message: the reason, up to 1000 characters, shown with the run.
            cascade: abort its children, and theirs, as well.
            force: end it now, without waiting for a checkpoint.
            principal: who asks.

        Raises:
            TaskRunNotFound, TaskRunNotAbortable (it is final), InvalidArgument, ServiceUnavailable.

        Example:
            run = await tasks.abort(run.id, message="superseded")
        """
        id = await self._aborting.abort(run_id, self._by(principal), message, cascade=cascade, force=force)
        return await self.get(id)

    @refusing
    async def purge(
        self,
        finished_before: datetime,
        *,
        definition_ids: Sequence[str] | None = None,
        statuses: Sequence[str] | None = None,
        limit: int = 1000,
        dry_run: bool = False,
        after: PurgePosition | None = None,
    ) -> PurgeResult:
        """Delete one batch of old final runs with their logs and iterations, the oldest first.

        Runs that a live run may still look at stay: its parent, its children, and those that it waits for. Idempotency
        keys vanish with their runs, so that a trigger with such a key makes a new run. ``purge-history`` does it all.

        Args:
            finished_before: a time, with a timezone.
            definition_ids, statuses: only runs of these; None means all that are final.
            limit: how many runs are looked at, 1 to 10,000; a batch ends early at 50,000 log lines.
            dry_run: only count.
            after: the ``position`` of the batch before.

        Raises:
            InvalidArgument, ServiceUnavailable.

        Example:
            result = await tasks.purge(datetime.now(UTC) - timedelta(days=30))
        """
        request = PurgeRequest(finished_before, definition_ids, statuses, limit, dry_run, after)
        return await self._purging.purge(request)

    # Watching.

    def logs(
        self,
        run_id: UUID | str,
        *,
        after: int = 0,
        follow: bool = False,
        levels: Sequence[TaskLogLevel] | None = None,
    ) -> AsyncGenerator[TaskLog, None]:
        """The lines of a run's log, without gap or repeat, as an async iterator.

        Args:
            run_id: the run.
            after: the number of the last line already seen; 0 begins at the start.
            follow: go on live until the run is final and its last line was given.
            levels: only lines of these levels.

        Raises ``TaskRunNotFound``.

        Example:
            async for line in tasks.logs(run.id, follow=True):
                print(line.sequence, line.level, line.message)
        """
        return self._watching.logs(run_id, after, levels, follow=follow)

    def watch(self, run_id: UUID | str) -> AsyncGenerator[TaskRun, None]:
        """The run now, then at every change; ends after the final status. Raises ``TaskRunNotFound``.

        Changes that follow each other quickly may be seen as one.

        Example:
            async for run in tasks.watch(run.id):
                print(run.status, run.progress)
        """
        return self._watching.run(run_id)

    def watch_all(self, filter: RunFilter | None = None) -> AsyncGenerator[TaskRun, None]:
        """Every run that matches, at every change from now on; does not end by itself.

        Raises:
            InvalidArgument, and ``FellBehind`` for who has left 200,000 changed runs untaken.

        Example:
            async for run in tasks.watch_all(RunFilter(queues=["default"])):
                print(run.name, run.status)
        """
        return self._watching.all(filter)

    async def wait(self, run_id: UUID | str, *, timeout: Duration | None = None) -> TaskRun:
        """The run once it is final.

        Args:
            run_id: the run.
            timeout: how long to wait (``timedelta`` or seconds); None waits for as long as it takes.

        Raises:
            TaskRunNotFound, and ``TimeoutError`` when the run is not final by then.

        Example:
            run = await tasks.wait(run.id, timeout=timedelta(minutes=1))
        """
        limit = asyncio.timeout(in_seconds(timeout))
        try:
            async with limit, aclosing(self.watch(run_id)) as changes:
                states = [run async for run in changes if run.status in FINAL]
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeoutError(f"Run {run_id} was not final in time, and goes on. Wait longer, or abort it.") from None
        return states[-1]

    def _by(self, principal: Principal | None) -> Principal:
        # Not whatever is empty: that is no principal, and must not act as this one.
        return self._principal if principal is None else principal
