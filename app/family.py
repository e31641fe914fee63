"""What parents learn of their children: when all are final they go on, or they fail with the first that failed.

A worker that dies between the end of a child and telling its parent leaves it to the dispatcher, which looks at all the
runs that wait.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from uuid import UUID

import asyncpg

from app import metrics, runs, states
from app.auth import Principal, PrincipalKind
from app.db import Database, Pipe, Row
from app.events import Events
from app.parents import Parents
from app.service.stopping import abort_locked, tell_aborted
from app.states import UNSUCCESSFUL, RunError, TaskRunStatus

logger = logging.getLogger("taskloom.lifecycle")

BATCH = 1000
QUOTED_CHARACTERS = 1000


class Family:
    """Moves the runs that wait for others. Every method returns the rows of those it queued or ended."""

    def __init__(self, db: Database, events: Events) -> None:
        self._db = db
        self._events = events

    async def learn(self, ended: Sequence[Row]) -> list[Row]:
        """Tell the parents of runs that are final now, and where that ends a parent, its own parent as well."""
        moved: list[Row] = []
        while parents := {row["parent_id"] for row in ended if row["parent_id"]}:
            unsuccessful = {row["parent_id"] for row in ended if TaskRunStatus(row["status"]) in UNSUCCESSFUL}
            failed = await self._fail_those_of(unsuccessful - {None})
            moved += [*failed, *await self._make_due(list(parents))]
            ended = failed
        return moved

    async def look(self) -> list[Row]:
        """Find, among all that wait, those who were not told."""
        moved: list[Row] = []
        while failed := await self._fail_those_of(None):
            moved += failed
        return [*moved, *await self._make_due(None)]

    async def _make_due(self, parent_ids: Sequence[UUID] | None) -> list[Row]:
        async with self._db.autocommit() as pipe:
            return await Parents(pipe).make_due(states.become_due(), BATCH, parent_ids)

    async def _fail_those_of(self, parent_ids: Collection[UUID] | None) -> list[Row]:
        """Fail those that have to, each with its children in a transaction of its own."""
        if parent_ids is not None and not parent_ids:
            return []
        async with self._db.autocommit() as pipe:
            failing = await Parents(pipe).failing(BATCH, None if parent_ids is None else list(parent_ids))
        return [row for parent_id in failing if (row := await self._fail(parent_id))]

    async def _fail(self, parent_id: UUID) -> Row | None:
        try:
            async with self._db.pipe() as pipe:
                failed, aborted = await _fail(pipe, parent_id)
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
            # Somebody aborts some of this family at the same time. What is left to do, the dispatcher finds.
            logger.info("Run %s did not fail with its child yet: %s", parent_id, error)
            return None
        metrics.count_finished([failed] if failed else [])
        await tell_aborted(self._events, aborted)
        return failed


async def _fail(pipe: Pipe, parent_id: UUID) -> tuple[Row | None, list[Row]]:
    """Fail a run and abort its children, if it still has to; returns its row, and those of the children."""
    parents = Parents(pipe)
    child = await parents.lock_failing(parent_id)
    if child is None:
        return None, []
    family = await runs.lock_live_families(pipe, [parent_id])
    failed = await parents.fail(parent_id, states.fail_with_child(_error(child)))
    by, message = str(Principal(PrincipalKind.RUN, str(parent_id))), f"Its parent failed with run {child['id']}."
    children = [run_id for run_id in family if run_id != parent_id]
    return failed, await abort_locked(pipe, children, by, message)


def _error(child: Row) -> RunError:
    end = f"{child['status']} ({child['status_reason']})" if child["status_reason"] else child["status"]
    cause = f": {child['error_type']}: {child['error_message']}"[:QUOTED_CHARACTERS] if child["error_type"] else ""
    which = f"Run {child['id']} ('{child['name']}' of '{child['definition_id']}')"
    return RunError("ChildFailed", f"{which} was waited for with FAIL_PARENT and ended {end}{cause}")
