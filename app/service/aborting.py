"""Aborts: what nobody holds ends at once, what a worker holds ends at its next checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from app import runs
from app.auth import Principal
from app.db import Database, Pipe, Row
from app.errors import TaskRunNotAbortable, TaskRunNotFound
from app.events import Events
from app.service import arguments
from app.service.repeating import repeat
from app.service.stopping import abort_locked, tell_aborted
from app.states import FINAL, TaskRunStatus

UNKNOWN = "The database is away or in trouble, so it is not known whether the run was aborted. Try again."


@dataclass(frozen=True, slots=True)
class AbortRequest:
    """Who asks to abort which run, with all below it or without, by force or at the next checkpoint."""

    run_id: UUID
    by: str
    message: str | None
    cascade: bool
    force: bool


class Aborting:
    """Aborts runs and tells the workers that hold them."""

    def __init__(self, db: Database, events: Events) -> None:
        self._db = db
        self._events = events

    async def abort(
        self, run_id: UUID | str, principal: Principal, message: str | None, *, cascade: bool, force: bool
    ) -> UUID:
        """Abort a run, and its descendants when ``cascade``; returns its id once that is committed.

        Raises ``TaskRunNotFound``, ``TaskRunNotAbortable``, ``InvalidArgument``, ``ServiceUnavailable``.
        """
        if message is not None:
            arguments.text(message, "message", arguments.MAX_MESSAGE)
        request = AbortRequest(arguments.run_id(run_id), arguments.author(principal), message, cascade, force)
        await tell_aborted(self._events, await self._commit(request))
        return request.run_id

    async def _commit(self, request: AbortRequest) -> list[Row]:
        """Repeats after a lost connection: aborting twice is aborting once."""

        async def abort(repeated: bool) -> list[Row]:
            async with self._db.pipe() as pipe:
                return await _abort(pipe, request, repeated=repeated)

        return await repeat(abort, UNKNOWN)


async def _abort(pipe: Pipe, request: AbortRequest, *, repeated: bool) -> list[Row]:
    row = await runs.lock(pipe, request.run_id)
    if row is None:
        raise TaskRunNotFound(request.run_id)
    status = TaskRunStatus(row["status"])
    if status in FINAL:
        if repeated and status is TaskRunStatus.ABORTED:
            # Our own abort whose reply was lost has most likely done it.
            return []
        raise TaskRunNotAbortable(request.run_id, status)
    family = await runs.lock_live_families(pipe, [request.run_id]) if request.cascade else [request.run_id]
    return await abort_locked(pipe, family, request.by, request.message, force=request.force)
