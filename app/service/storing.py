"""Storing new runs, and the truth about those that met a conflict.

Ids are made before the insert, so that it can be repeated when its reply was lost: a run that is there under its own id
is the one that was asked for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import asyncpg.exceptions

from app import runs
from app.db import IN_TROUBLE, Database, Pipe, Row, is_disconnect
from app.errors import (
    IdempotencyConflict,
    LimitReached,
    ParentAborted,
    ServiceUnavailable,
    TaskError,
    TaskRunNotFound,
    UniqueConflict,
)
from app.events import Events
from app.models import TaskRun
from app.runs import Runs
from app.service import arguments, repeating
from app.service.admitting import Admitted, admit, is_admitted
from app.service.preparing import NewRun, first_of_each_key, in_key_order
from app.service.repetitions import refused_with
from app.service.replacing import Overtaken
from app.service.requests import UniquePolicy
from app.service.stopping import tell_aborted
from app.states import BARREN, FINAL
from app.task_errors import CooldownActive

logger = logging.getLogger("taskloom.service")

VANISHED_ROUNDS = 5
ALIKE = ("status", "limit_key", "task_id", "parent_id")
"""What limits and cooldowns go by, besides the definition: a run that is not due yet meets no limit."""
UNKNOWN = (
    "The database went away while the trigger was stored, so it is not known whether it was. "
    "Triggering with an idempotencyKey can be repeated safely."
)
CANNOT_WRITE = "The database cannot store anything just now, so that nothing was stored; try again shortly."


@dataclass(frozen=True, slots=True)
class Found:
    """The earlier run that holds the same idempotency key, or the same unique key."""

    run: TaskRun

    def row(self) -> TaskRun:
        """The run."""
        return self.run


Outcome = NewRun | Found | Exception
"""What became of a new run: it is stored, or another one was found in its place, or why it is refused."""


class Storing:
    """Stores runs in batches."""

    def __init__(self, db: Database, events: Events) -> None:
        self._db = db
        self._events = events

    async def store(self, new: Sequence[NewRun]) -> list[Outcome]:
        """Store runs in as few inserts as can be; each gets its own outcome, in order. Raises ``ServiceUnavailable``.

        Of those that share a key the first one goes first, and the others find what became of it.
        """
        outcomes: dict[UUID, Outcome] = {}
        pending: list[NewRun] = list(new)
        vain = 0
        while vain < VANISHED_ROUNDS:
            before = len(pending)
            insert = self._insert_or_say_why if outcomes else self._insert
            inserted = await insert(first_of_each_key(pending), outcomes)
            if len(inserted) == len(new):
                return list(new)
            ours = set(inserted)
            outcomes |= {run.id: run for run in pending if run.id in ours}
            pending = [run for run in pending if run.id not in outcomes]
            if not pending:
                break
            # A conflict whose run vanished meanwhile is no conflict any more: such a run is tried again.
            outcomes |= await self._explain(pending)
            # Whoever shares a key with what was refused, and meets the same limit, need not ask by itself.
            outcomes = {**refused_with(_refusals(outcomes), new, ALIKE), **outcomes}
            pending = [run for run in pending if run.id not in outcomes]
            vain = vain + 1 if len(pending) == before else 0
        for run in pending:
            outcomes[run.id] = UniqueConflict(run.values["unique_key"] or "", "(one that ended just now)")
        return [outcomes[run.id] for run in new]

    # Inserting.

    async def _insert(self, new: Sequence[NewRun], outcomes: dict[UUID, Outcome]) -> list[UUID]:
        """Insert runs. One that PostgreSQL refuses for what is in it gets that as its outcome and hurts no other."""
        if not new:
            return []
        admitted = [run for run in new if is_admitted(run)]
        if admitted and len(admitted) < len(new):
            # Apart from each other, so that nobody waits for the lock of a definition that is not theirs.
            others = await self._insert([run for run in new if not is_admitted(run)], outcomes)
            return others + await self._insert_or_say_why(admitted, outcomes)
        try:
            return await self._insert_surely(new, outcomes)
        except asyncpg.exceptions.PostgresError as error:
            if len(new) == 1:
                outcomes[new[0].id] = error
                return []
        middle = len(new) // 2
        return await self._insert(new[:middle], outcomes) + await self._insert(new[middle:], outcomes)

    async def _insert_or_say_why(self, new: Sequence[NewRun], outcomes: dict[UUID, Outcome]) -> list[UUID]:
        """The same for all but the first insert: when the database is away by now, only these are told so."""
        try:
            return await self._insert(new, outcomes)
        except ServiceUnavailable as error:
            outcomes |= {run.id: error for run in new}
            return []

    async def _insert_surely(self, new: Sequence[NewRun], outcomes: dict[UUID, Outcome]) -> list[UUID]:
        """Insert, again and again for a few seconds while the connection is lost. Raises ``ServiceUnavailable``."""
        given_up_at = time.monotonic() + repeating.GIVE_UP_SECONDS
        sent = False
        # All of them are, or none.
        limited = is_admitted(new[0])
        for seconds in (*repeating.RETRY_SECONDS, None):
            again = sent
            try:
                async with asyncio.timeout(repeating.TRY_SECONDS):
                    async with self._db.pipe() if limited else self._db.autocommit(by_keys=True) as pipe:
                        sent = True
                        result = await (admit(pipe, new) if limited else _insert_all(pipe, new, again=again))
            except Overtaken:
                return []
            except Exception as error:
                if not is_disconnect(error) and not isinstance(error, repeating.REPEATABLE):
                    raise
                if isinstance(error, IN_TROUBLE):
                    sent = again
                if seconds is None or time.monotonic() > given_up_at:
                    logger.warning("Triggers could not be stored: %s", error)
                    raise (ServiceUnavailable(UNKNOWN) if sent else _refusal(error)) from error
                logger.info("Storing triggers again, because: %s", error)
                await asyncio.sleep(seconds)
            else:
                outcomes |= result.refused
                if result.aborted:
                    await tell_aborted(self._events, result.aborted)
                return result.inserted
        raise AssertionError("the last round returns or raises")

    # Conflicts.

    async def _explain(self, new: Sequence[NewRun]) -> dict[UUID, Outcome]:
        """Why runs were not inserted. No answer for one means that the reason is gone."""
        try:
            return await self._look_up(new)
        except Exception as error:
            if not is_disconnect(error) and not isinstance(error, ServiceUnavailable):
                raise
            # Only for these: others of the batch may be stored already, and that is what they are told.
            return {run.id: ServiceUnavailable(UNKNOWN) for run in new}

    async def _look_up(self, new: Sequence[NewRun]) -> dict[UUID, Outcome]:
        async with self._db.autocommit() as pipe:
            first = await runs.same_idempotency_key(pipe, _keys(new, "idempotency_key"))
            holders = await runs.same_unique_key(pipe, _keys(new, "unique_key"))
        parents = {parent for run in new if (parent := run.values["parent_id"]) is not None}
        async with self._db.read() as session:
            rows = await Runs(session).get_many({run.id for run in new} | _ids(first) | _ids(holders) | parents)
        same_key = {row["n"]: row for row in first}
        same_unique = {row["n"]: row for row in holders}
        outcomes: dict[UUID, Outcome] = {}
        for n, run in enumerate(new):
            outcome = _outcome(run, rows, same_key.get(n), same_unique.get(n))
            if outcome is not None:
                outcomes[run.id] = outcome
        return outcomes


def _refusals(outcomes: Mapping[UUID, Outcome]) -> dict[UUID, LimitReached | CooldownActive]:
    """Those of the outcomes that others would have met as well."""
    return {id: outcome for id, outcome in outcomes.items() if isinstance(outcome, (LimitReached, CooldownActive))}


def _refusal(error: Exception) -> ServiceUnavailable:
    """What a caller is told whose runs are surely not stored."""
    return ServiceUnavailable(CANNOT_WRITE) if isinstance(error, IN_TROUBLE) else ServiceUnavailable()


async def _insert_all(pipe: Pipe, new: Sequence[NewRun], *, again: bool) -> Admitted:
    are_new = not again and not any(run.has_key for run in new)
    return Admitted(await runs.insert(pipe, [run.stored() for run in in_key_order(new)], are_new=are_new))


def _outcome(run: NewRun, rows: dict[UUID, TaskRun], first: Row | None, holder: Row | None) -> Outcome | None:
    if run.id in rows:
        run.wait_until_final(rows[run.id].wait_for or ())
        return run
    if first is not None and first["input_digest"] != run.values["input_digest"]:
        return IdempotencyConflict(run.values["idempotency_key"], first["id"])
    if first is not None and first["id"] in rows:
        return Found(rows[first["id"]])
    if first is None and holder is not None and run.unique_policy is not UniquePolicy.REPLACE:
        return _held_by(run, rows.get(holder["id"]))
    return _parents_refusal(run.values["parent_id"], rows) if first is None else None


def _held_by(run: NewRun, holder: TaskRun | None) -> Outcome | None:
    """What a run gets whose unique key another one holds; nothing when that has ended meanwhile."""
    if holder is None or holder.status in FINAL:
        return None
    if run.unique_policy is UniquePolicy.RETURN_EXISTING:
        return Found(holder)
    return UniqueConflict(run.values["unique_key"], holder.id)


def _parents_refusal(parent_id: UUID | None, rows: dict[UUID, TaskRun]) -> TaskError | None:
    """Why a run may not be stored below its parent, if that is the reason."""
    if parent_id is None:
        return None
    if parent_id not in rows:
        return TaskRunNotFound(parent_id, path=arguments.PARENT)
    status = rows[parent_id].status
    return ParentAborted(parent_id, status) if status in BARREN else None


def _keys(new: Sequence[NewRun], column: str) -> list[tuple[int, str, str]]:
    return [(n, run.known.id, run.values[column]) for n, run in enumerate(new) if run.values[column] is not None]


def _ids(rows: Sequence[Row]) -> set[UUID]:
    return {row["id"] for row in rows}
