"""``tasks.batches``: runs that are triggered together, counted and aborted together, and what follows the last."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from app import batches
from app.auth import Principal
from app.batches import BatchRows, Tally
from app.db import Database, Row, outages_told
from app.errors import BatchNotAbortable, BatchNotFound, InvalidTaskInput, ServiceUnavailable, TaskError, TriggerRefused
from app.ids import new_id, parse_id
from app.models import Batch, BulkAction
from app.rows import detached
from app.service import arguments, inputs
from app.service.bulk import BulkActions, TaskSelection
from app.service.declared import as_declared
from app.service.preparing import NewRun, Preparing
from app.service.reading import Reading
from app.service.requests import NOWHERE, UNSET, Provenance, Triggered, TriggerRequest, Unset
from app.service.task_fields import check_shared
from app.service.triggering import Triggering

LOOK_LIMIT = 100
FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class OnComplete:
    """What is triggered, once, when all runs of a batch are final: a definition, and its input."""

    definition_id: str
    input: Any = None


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How a batch is made: what people call it, and what follows it."""

    name: str | None = None
    on_complete: OnComplete | None = None


PLAIN = BatchOptions()


@as_declared
class Batches:
    """Batches. All methods may raise ``ServiceUnavailable``."""

    def __init__(
        self,
        db: Database,
        reading: Reading,
        preparing: Preparing,
        triggering: Triggering,
        bulk: BulkActions,
        principal: Principal,
    ) -> None:
        """Describe batches.

        Args:
            db: where they are.
            reading: finds runs and definitions.
            preparing: checks what follows a batch, in bounded time.
            triggering: stores runs.
            bulk: executes and aborts many.
            principal: who asks, where a method is not told otherwise.
        """
        self._db = db
        self._reading = reading
        self._preparing = preparing
        self._triggering = triggering
        self._bulk = bulk
        self._principal = principal
        self._looked_at = FIRST
        self._turn = asyncio.Lock()

    async def trigger(
        self,
        requests: Sequence[TriggerRequest],
        options: BatchOptions = PLAIN,
        *,
        principal: Principal | None = None,
        allow_private: bool = True,
    ) -> tuple[Batch, list[Triggered | TaskError]]:
        """Trigger many runs as a batch: the batch, and for each request, in order, its run or its refusal.

        A refused request refuses none of the others, and is no part of the batch. An earlier run that was given for an
        idempotency key stays in the batch it belongs to.

        Args:
            requests: what to trigger, up to TASKLOOM_MAX_BULK_ITEMS.
            options: the batch's name, and what follows it.
            principal: who asks.
            allow_private: whether private definitions may be triggered.

        Raises:
            InvalidArgument; for what follows TaskDefinitionNotFound, InvalidTaskInput: then nothing is triggered.

        Example:
            batch, answers = await tasks.batches.trigger([TriggerRequest(definition_id="ping")] * 9)
        """
        by = principal or self._principal
        self._triggering.check(requests)
        batch_id = await self.open(options, by, allow_private=allow_private)
        answers = await self._triggering.submit_many(_in_batch(requests, batch_id), by, allow_private=allow_private)
        new = [answer for answer in answers if isinstance(answer, Triggered) and not answer.deduplicated]
        async with self._db.pipe() as pipe:
            await batches.seal(pipe, batch_id, len(new))
        return await self.get(batch_id), answers

    async def execute(
        self,
        selection: TaskSelection,
        options: BatchOptions = PLAIN,
        *,
        input: Any | Unset = UNSET,
        tags: Sequence[str] = (),
        priority: int | None = None,
        force: bool = False,
        principal: Principal | None = None,
        allow_private: bool = True,
    ) -> BulkAction:
        """Execute many saved tasks as a batch, by a bulk action: its ``batch_id`` names the batch.

        Args:
            selection: which tasks.
            options: the batch's name, and what follows it.
            input: merged into each task's input as a JSON merge patch.
            tags: words that each run gets besides its task's.
            priority: instead of the tasks'.
            force: also tasks that are disabled, or meant for schedules alone.
            principal: who asks.
            allow_private: whether a private definition may follow.

        Raises:
            InvalidArgument, ConfirmationRequired, and for what follows TaskDefinitionNotFound, InvalidTaskInput.

        Example:
            action = await tasks.batches.execute(TaskSelection(ids=ids))
        """
        by = principal or self._principal
        given: dict[str, Any] = {"tags": list(dict.fromkeys(tags)), "priority": priority, "force": force}
        check_shared({"tags": given["tags"], "priority": priority}, ("input",))
        if input is not UNSET:
            inputs.encode(input)
            given["input"] = input
        await self._bulk.preview_tasks(selection, principal=by)
        batch_id = await self.open(options, by, allow_private=allow_private)
        return await self._bulk.execute_tasks(selection, batch_id, given, principal=by)

    async def open(self, options: BatchOptions, principal: Principal, *, allow_private: bool) -> UUID:
        """Store a batch that runs may be triggered into; returns its id. It completes once it is sealed.

        Raises what ``trigger`` raises for what follows.

        Example:
            batch_id = await tasks.batches.open(BatchOptions(), principal, allow_private=False)
        """
        by = arguments.author(principal)
        await self._check(options, allow_private=allow_private)
        follows = options.on_complete
        values: dict[str, Any] = {
            "id": new_id(),
            "name": options.name,
            "complete_definition_id": follows.definition_id if follows else None,
            "complete_input": None if follows is None else {} if follows.input is None else follows.input,
            "created_by": by,
        }
        batch = detached(Batch, values)
        # A batch that nobody knows of has no runs, and triggers nothing.
        with outages_told():
            async with self._db.pipe() as pipe:
                await batches.insert(pipe, batch)
        return batch.id

    async def _check(self, options: BatchOptions, *, allow_private: bool) -> None:
        if options.name is not None:
            arguments.text(options.name, "name", arguments.MAX_NAME)
        if options.on_complete is not None:
            id, given = options.on_complete.definition_id, options.on_complete.input
            issues = await self._reading.validate(id, given, allow_private=allow_private)
            if issues:
                raise InvalidTaskInput(id, tuple(issues))

    # Reading.

    async def get(self, batch_id: UUID | str) -> Batch:
        """A batch. Raises ``BatchNotFound``.

        Example:
            batch = await tasks.batches.get(run.batch_id)
        """
        id = parse_id(batch_id)
        found = (await self.find([id])).get(id) if id is not None else None
        if found is None:
            raise BatchNotFound(batch_id)
        return found

    async def find(self, batch_ids: Collection[UUID]) -> Mapping[UUID, Batch]:
        """Those of the batches that exist, by id.

        Example:
            names = {id: batch.name for id, batch in (await tasks.batches.find(ids)).items()}
        """
        async with self._db.read() as session:
            return await BatchRows(session).find(batch_ids)

    async def tallies(self, batch_ids: Collection[UUID]) -> Mapping[UUID, Tally]:
        """How the runs of each batch stand; runs that were deleted do not count.

        Example:
            final = (await tasks.batches.tallies([batch.id]))[batch.id].final
        """
        async with self._db.read() as session:
            return await BatchRows(session).tallies(batch_ids)

    # Aborting and completing.

    async def abort(self, batch_id: UUID | str, *, principal: Principal | None = None) -> BulkAction:
        """Abort the runs of a batch that are not final, as a bulk action; what would follow the batch does not.

        Raises:
            BatchNotFound, BatchNotAbortable (all its runs are final).

        Example:
            action = await tasks.batches.abort(batch.id)
        """
        batch = await self.get(batch_id)
        by = principal or self._principal
        if batch.sealed_at is not None and not (await self.tallies([batch.id]))[batch.id].live:
            raise BatchNotAbortable(batch.id)
        async with self._db.pipe() as pipe:
            await batches.abort(pipe, batch.id, arguments.author(by))
        return await self._bulk.abort_batch(batch.id, principal=by)

    async def complete_due(self) -> int:
        """Trigger what follows the batches whose runs are all final; returns how many of them were looked at.

        Batches that a process left when it died while it triggered their runs are sealed first.

        Any number of processes may do so at once: each batch is completed by one of them, and what follows has an
        idempotency key of its batch, so that it is triggered once even if the process dies before it says so. The
        definition's own checks of what follows may be called by several, for TASKLOOM_HOOK_SECONDS at the most.

        Example:
            await tasks.batches.complete_due()
        """
        async with self._db.pipe() as pipe:
            await batches.seal_forgotten(pipe, LOOK_LIMIT)
            rows = await batches.open_batches(pipe, self._looked_at, LOOK_LIMIT)
            for row in rows:
                if row["live_id"] is not None:
                    await batches.pass_final(pipe, row["id"], row["live_id"])
        self._looked_at = rows[-1]["id"] if len(rows) == LOOK_LIMIT else FIRST
        await self._complete_each([row for row in rows if row["live_id"] is None])
        return len(rows)

    async def _complete_each(self, rows: Sequence[Row]) -> None:
        """Complete batches; one that cannot be completed just now, or takes its time, holds up none of the others."""
        outcomes = await asyncio.gather(*map(self._complete, rows), return_exceptions=True)
        for error in outcomes:
            if isinstance(error, Exception):
                raise error

    async def _complete(self, row: Row) -> None:
        """Trigger what follows a batch, and say so, unless somebody else does."""
        # Before anything is locked, because the definition's own checks are code that may take its time.
        follower = await self._follower(row)
        # One at a time, because each takes a second connection to store its run.
        async with self._turn, self._db.pipe() as pipe:
            batch = await batches.take(pipe, row["id"])
            if batch is None:
                return
            run_id, refusal = (None, None) if batch["aborted_at"] else await self._trigger(follower)
            await batches.complete(pipe, row["id"], run_id, refusal)

    async def _follower(self, row: Row) -> NewRun | TaskError | None:
        """What follows a batch, checked and not stored, or why it cannot; None when nothing does."""
        if row["aborted_at"] is not None or not row["has_runs"]:
            return None
        request = TriggerRequest(
            definition_id=row["complete_definition_id"],
            input=batches.stored_input(row),
            idempotency_key=f"batch/{row['id']}/complete",
        )
        try:
            [run] = await self._preparing.prepare([request], Principal.parse(row["created_by"]), allow_private=True)
        except TriggerRefused as late:
            return late
        if isinstance(run, ServiceUnavailable):
            raise run
        if isinstance(run, NewRun):
            run.is_owed = True
        return run

    async def _trigger(self, follower: NewRun | TaskError | None) -> tuple[UUID | None, str | None]:
        """Trigger what follows a batch: the run, or why there is none."""
        if follower is None:
            return None, None
        if isinstance(follower, TaskError):
            return None, follower.message
        try:
            triggered = await self._triggering.store(follower)
        except ServiceUnavailable:
            raise
        except TaskError as refusal:
            return None, refusal.message
        return triggered.run.id, None


def _in_batch(requests: Sequence[TriggerRequest], batch_id: UUID) -> list[TriggerRequest]:
    # One for all that come from nowhere else, as most do: to make one for each takes longer than to check its request.
    alone = Provenance(batch_id=batch_id)

    def provenance(request: TriggerRequest) -> Provenance:
        return alone if request.provenance is NOWHERE else replace(request.provenance, batch_id=batch_id)

    return [replace(request, provenance=provenance(request)) for request in requests]
