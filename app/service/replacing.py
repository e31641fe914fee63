"""Triggers that replace the live run which holds their unique key.

It is aborted in the insert's transaction, under a lock on the key. What nobody holds ends at once. What a worker holds
is asked to stop and gives the key away; the new run stays SCHEDULED until that one is final, so that never two of them
are executed at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app import runs, unique_keys
from app.db import Pipe, Row
from app.errors import UniqueConflict
from app.service.preparing import NewRun
from app.service.requests import UniquePolicy
from app.service.stopping import abort_locked
from app.states import HELD, TaskRunStatus


class Overtaken(Exception):
    """A run that was to replace another one could not be stored, so nothing may be aborted for it."""


@dataclass(slots=True)
class Way:
    """What was done for those that replace: which of them do, the refusals by id, and the rows that were aborted."""

    replacing: set[UUID] = field(default_factory=set[UUID])
    refused: dict[UUID, UniqueConflict] = field(default_factory=dict[UUID, UniqueConflict])
    aborted: list[Row] = field(default_factory=list[Row])

    def check(self, stored: set[UUID]) -> None:
        """Raises ``Overtaken`` unless all for whose sake others were aborted are stored."""
        if not stored.issuperset(self.replacing):
            raise Overtaken


def replaces(new: NewRun) -> bool:
    """Whether a run takes its unique key from the one that holds it."""
    return new.unique_policy is UniquePolicy.REPLACE


async def make_way(pipe: Pipe, new: Iterable[NewRun]) -> Way:
    """Abort the runs that hold the unique keys of those that replace; in the transaction that stores them.

    No two of them have the same key.
    """
    way = Way()
    taking = [run for run in new if replaces(run)]
    if not taking:
        return way
    keys = [(n, run.known.id, run.values["unique_key"]) for n, run in enumerate(taking)]
    await unique_keys.lock(pipe, keys)
    for holder in await unique_keys.lock_holders(pipe, keys):
        await _replace(pipe, holder, taking[int(holder["n"])], way)
    return way


async def _replace(pipe: Pipe, holder: Row, new: NewRun, way: Way) -> None:
    key = new.values["unique_key"]
    family = await runs.lock_live_families(pipe, [holder["id"]])
    if new.values["parent_id"] in family:
        # It would be aborted with the run that it replaces.
        way.refused[new.id] = UniqueConflict(key, holder["id"])
        return
    message = f"Replaced by run {new.id}, which has taken over the unique key '{key}'."
    way.aborted += await abort_locked(pipe, family, str(new.values["created_by"]), message)
    way.replacing.add(new.id)
    if still_executed := _still_executed(holder):
        await unique_keys.give_away(pipe, still_executed)
        new.wait_until_final(still_executed)


def _still_executed(holder: Row) -> Sequence[UUID]:
    """What a worker goes on with, though its key is taken over: the holder, or the one that it had itself replaced."""
    if TaskRunStatus(holder["status"]) in HELD:
        return [holder["id"]]
    return holder["wait_for"] or () if holder["status"] == TaskRunStatus.SCHEDULED else ()
