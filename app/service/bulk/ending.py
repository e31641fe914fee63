"""The end of a bulk action that somebody aborts."""

from __future__ import annotations

from app import audit, bulk_actions, runs
from app.audit import Deed
from app.auth import Principal
from app.db import Database, Row, outages_told
from app.errors import BulkActionNotAbortable
from app.events import Events
from app.models import BulkAction, BulkActionStatus
from app.service import arguments
from app.service.stopping import abort_locked, tell_aborted

_UNKNOWN = "The database is away or in trouble, so it is not known whether the bulk action was aborted. Try again."


class Ending:
    """Aborts bulk actions."""

    def __init__(self, db: Database, events: Events) -> None:
        self._db = db
        self._events = events

    async def abort(self, action: BulkAction, principal: Principal) -> None:
        """End an action between two steps, and the run that carries it out.

        Raises ``BulkActionNotAbortable``, ``ServiceUnavailable``.
        """
        if action.finished_at is not None:
            raise BulkActionNotAbortable(action.id, action.status)
        with outages_told(_UNKNOWN):
            changed = await self._end(action, arguments.author(principal))
        await tell_aborted(self._events, changed)
        if action.run_id is not None:
            await self._events.publish([action.run_id])

    async def _end(self, action: BulkAction, by: str) -> list[Row]:
        async with self._db.pipe() as pipe:
            ended = await bulk_actions.finish(pipe, action.id, BulkActionStatus.ABORTED, by=by)
            if ended is None:
                raise BulkActionNotAbortable(action.id, "ended")
            deed = Deed(principal=by, action="abortBulkAction", subject_kind="bulk action", subject_id=action.id)
            await audit.record(pipe, deed)
            locked = await runs.lock_live(pipe, [ended["run_id"]]) if ended["run_id"] is not None else []
            return await abort_locked(pipe, locked, by, "The bulk action was aborted.")
