"""What an abort does to runs that are locked, whoever asked for it, and what is told of it after the commit."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from app import metrics, runs, states
from app.db import Pipe, Row
from app.events import Events
from app.states import FINAL, TaskRunStatus


async def abort_locked(
    pipe: Pipe, run_ids: Sequence[UUID], by: str, message: str | None, *, force: bool = False
) -> list[Row]:
    """Abort runs that are locked and not final; returns those that changed.

    Locked as they are, none of them moves before the commit: each is in the sources of exactly one of the moves.
    """
    changed: list[Row] = []
    for move in (states.abort(), states.ask_abort()):
        changed += await runs.abort(pipe, run_ids, move, by, message, force)
    if force:
        changed += await runs.force_abort(pipe, run_ids, by, message)
    return changed


async def abort_family(pipe: Pipe, run_id: UUID, by: str, message: str) -> list[Row]:
    """Lock a run and all its descendants that are not final, and abort them; returns those that changed."""
    return await abort_locked(pipe, await runs.lock_live_families(pipe, [run_id]), by, message)


async def tell_aborted(events: Events, changed: Sequence[Row]) -> None:
    """After the commit of an abort: count what it ended, tell the workers that hold runs of it, and who watches."""
    metrics.count_finished([row for row in changed if TaskRunStatus(row["status"]) in FINAL])
    await events.tell_abort([(row["lease_owner"], row["id"]) for row in changed if row["lease_owner"]])
    await events.publish([row["id"] for row in changed])
