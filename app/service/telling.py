"""``tasks.timelines``: what happened to runs, from their trigger to their end and to their reruns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from app.db import Database
from app.errors import TaskRunNotFound
from app.kinship import Kinship
from app.service import arguments
from app.service.declared import as_declared
from app.timeline import TimelineEntry, tell


@as_declared
class Timelines:
    """Tells the lives of runs, from what is stored anyway."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def of(self, run_id: UUID | str) -> list[TimelineEntry]:
        """What happened to a run, in order: its trigger, attempts, abort and end, and the chain of its reruns.

        Of many attempts the last 100 are told, of a chain of reruns 50 to either side. Where retention has removed the
        attempts, only trigger, first start and end are left. Raises ``TaskRunNotFound``.

        Example:
            for entry in await tasks.timelines.of(run.id):
                print(entry.at, entry.status, entry.reason)
        """
        id = arguments.run_id(run_id, ("id",))
        found = (await self.of_many([id])).get(id)
        if found is None:
            raise TaskRunNotFound(run_id, path=("id",))
        return found

    async def of_many(self, run_ids: Collection[UUID]) -> Mapping[UUID, list[TimelineEntry]]:
        """The same for many, by four statements; of those that exist.

        Example:
            lives = await tasks.timelines.of_many([run.id for run in page.items])
        """
        async with self._db.read() as session:
            kinship = Kinship(session)
            await kinship.stand_still()
            runs, attempts = await kinship.runs(run_ids), await kinship.attempts(run_ids)
            origins, reruns = await kinship.origins(run_ids), await kinship.reruns(run_ids)
        return {id: tell(run, attempts[id], origins[id], reruns[id]) for id, run in runs.items()}
