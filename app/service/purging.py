"""Purges: final runs that finished long ago are deleted with their logs and iterations, a bounded batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.conditions import storable
from app.db import Database, outages_told
from app.errors import InvalidArgument
from app.history import History
from app.kinds import aware, whole
from app.states import FINAL

MAX_BATCH = 10_000

PurgePosition = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """Which runs to delete: those that finished before a time and, where given, have one of these ids and statuses."""

    finished_before: datetime
    definition_ids: Sequence[str] | None = None
    statuses: Sequence[str] | None = None
    limit: int = 1000
    dry_run: bool = False
    after: PurgePosition | None = None


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """What one batch deleted, or would delete: how many, and when the first and the last of them finished.

    ``position`` is where the batch ended, for the ``after`` of the next one; None when nothing is left to look at.
    """

    runs: int = 0
    logs: int = 0
    iterations: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    position: PurgePosition | None = None


class Purging:
    """Deletes history."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def purge(self, request: PurgeRequest) -> PurgeResult:
        """Delete one batch; see ``TaskService.purge``."""
        _check(request)
        unknown = "The database is away or in trouble, so it is not known whether a batch was deleted. Try again."
        with outages_told(unknown):
            async with self._db.pipe() as pipe:
                return await _purge(History(pipe), request)


async def _purge(history: History, request: PurgeRequest) -> PurgeResult:
    statuses = None if request.statuses is None else [str(status) for status in request.statuses]
    near = await history.look(request.finished_before, request.after, request.limit, request.definition_ids, statuses)
    if not near:
        return PurgeResult()
    position = (near[-1]["finished_at"], near[-1]["id"])
    chosen = [row for row in near if row["fits"]]
    if not request.dry_run and chosen:
        # What somebody else has locked, as another purge, is left to them.
        locked = {row["id"] for row in await history.lock([row["id"] for row in chosen])}
        chosen = [row for row in chosen if row["id"] in locked]
    if not chosen:
        return PurgeResult(position=position)
    ids = [row["id"] for row in chosen]
    if request.dry_run:
        logs, iterations = await history.count_details(ids)
    else:
        logs, iterations = await history.delete(ids)
    return PurgeResult(len(ids), logs, iterations, chosen[0]["finished_at"], chosen[-1]["finished_at"], position)


def _check(request: PurgeRequest) -> None:
    whole(request.limit, "limit", 1, MAX_BATCH)
    for id in request.definition_ids or ():
        storable(id)
    aware(request.finished_before, "finished_before")
    wrong = set(request.statuses or ()) - FINAL
    if wrong:
        allowed = ", ".join(sorted(FINAL))
        raise InvalidArgument(f"'statuses' names {', '.join(sorted(wrong))}, but only these are final: {allowed}.")
