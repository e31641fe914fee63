"""How a bulk action begins: stored in one transaction with the run that will go on with it, and with its audit."""

from __future__ import annotations

import contextlib
from typing import Any
from uuid import UUID

import asyncpg.exceptions

from app import audit, bulk_actions, runs
from app.audit import Deed
from app.auth import Principal
from app.db import Database
from app.errors import TaskError
from app.ids import new_id
from app.models import BulkAction, BulkActionKind
from app.rows import detached
from app.service.arguments import author
from app.service.preparing import NewRun, Preparing
from app.service.repeating import repeat
from app.service.requests import TriggerRequest

SECONDS_AT_ONCE = 1.0
"""How long the process that begins an action carries it out by itself."""
RUN_AFTER_SECONDS = 2.0
"""When the action's run is due: later than that, so that what is quickly done needs no worker and leaves no run."""
UNKNOWN = (
    "The database is away or in trouble, so it is not known whether the bulk action was begun. bulkActions shows it."
)


class Starting:
    """Stores new bulk actions."""

    def __init__(self, db: Database, preparing: Preparing, principal: Principal) -> None:
        self._db = db
        self._preparing = preparing
        self.principal = principal
        self.seconds_at_once = SECONDS_AT_ONCE

    async def start(
        self,
        kind: BulkActionKind,
        selection: dict[str, Any],
        arguments: dict[str, Any],
        deed: str,
        principal: Principal | None,
        batch_id: UUID | None = None,
    ) -> UUID:
        """Store an action that nothing has been done of yet; returns its id. Raises ``ServiceUnavailable``.

        ``deed`` is the name of the mutation, for the audit.
        """
        by = author(principal or self.principal)
        id = new_id()
        run = await self._run(id, kind, principal or self.principal)
        action = detached(
            BulkAction,
            {
                "id": id,
                "kind": kind,
                "selection": selection,
                "arguments": arguments,
                "run_id": run.id,
                "batch_id": batch_id,
                "created_by": by,
            },
        )
        await self._store(action, run, Deed(
            principal=by,
            action=deed,
            subject_kind="bulk action",
            subject_id=id,
            details={"selection": _summary(selection), "arguments": arguments},
        ))  # fmt: skip
        return id

    async def _run(self, action_id: UUID, kind: BulkActionKind, principal: Principal) -> NewRun:
        request = TriggerRequest(
            definition_id=bulk_actions.DEFINITION,
            input={"id": str(action_id)},
            name=f"Bulk action {kind}",
            delay=RUN_AFTER_SECONDS,
        )
        [run] = await self._preparing.prepare([request], principal, allow_private=True)
        if isinstance(run, TaskError):
            raise run
        return run

    async def _store(self, action: BulkAction, run: NewRun, deed: Deed) -> None:
        """Repeats after a lost connection: an action that is there under its own id is the one that was asked for."""

        async def store(repeated: bool) -> None:
            with contextlib.suppress(asyncpg.exceptions.UniqueViolationError):
                async with self._db.pipe() as pipe:
                    await bulk_actions.insert(pipe, action)
                    await runs.insert(pipe, [run.stored()])
                    await bulk_actions.delay_run(pipe, run.id, RUN_AFTER_SECONDS)
                    await audit.record(pipe, deed)

        await repeat(store, UNKNOWN)


def _summary(selection: dict[str, Any]) -> dict[str, Any]:
    """A selection as the audit keeps it: of many ids only how many."""
    ids = selection.get("ids")
    return {"ids": ids} if ids and len(ids) <= 20 else {"numberOfIds": len(ids)} if ids else selection
