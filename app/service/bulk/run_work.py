"""What bulk actions do to runs: abort, delete and rerun them, some hundreds in one short transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement

from app import batches, bulk_actions, runs
from app.auth import Principal
from app.bulk_actions import ItemError
from app.db import Pipe
from app.errors import ErrorCode, TaskError, TaskRunNotAbortable, TaskRunNotFinal, TaskRunNotFound
from app.events import Events
from app.history import History
from app.models import BulkAction, BulkActionKind, TaskRun
from app.run_filters import TABLE
from app.service.bulk.selections import Chosen
from app.service.bulk.work import Acted, Work
from app.service.reading import Reading
from app.service.requests import RerunFrom
from app.service.rerunning import Rerunning
from app.service.stopping import abort_locked, tell_aborted
from app.states import FINAL, LIVE, TaskRunStatus


class _OnRuns:
    """What all works on runs have in common: their items are runs, of some statuses."""

    among: Collection[TaskRunStatus] | None = None
    extra: Sequence[ColumnElement[bool]] = ()

    @property
    def ids(self) -> ColumnElement[Any]:
        """The column of the runs' ids."""
        return TABLE.c.id

    def chosen_ids(self, action: BulkAction) -> list[UUID] | None:
        """The runs, where they were chosen by their ids."""
        return Chosen.read(action.selection).ids

    def parts(self, action: BulkAction) -> list[list[ColumnElement[bool]]]:
        """What the runs of a filter meet, once for each status."""
        return Chosen.read(action.selection).parts(self.among, self.extra)

    def together(self, action: BulkAction) -> list[ColumnElement[bool]]:
        """The same in one, to count by."""
        return [*Chosen.read(action.selection).together(self.among), *self.extra]

    async def before(self, pipe: Pipe, action: BulkAction) -> None:
        """Nothing."""


# Bulk actions are ended as such, so that two that end everything do not end each other half way.
_NO_BULK_ACTION = (TABLE.c.definition_id != bulk_actions.DEFINITION,)


class AbortRuns(_OnRuns):
    """Aborts runs, with all below them unless ``cascade`` is false."""

    size = 1000
    among = LIVE
    extra = _NO_BULK_ACTION

    def __init__(self, events: Events) -> None:
        self._events = events

    async def before(self, pipe: Pipe, action: BulkAction) -> None:
        """Where everything is to stop: end the other bulk actions, and let no batch trigger what it has in store."""
        if action.kind is not BulkActionKind.STOP_ALL:
            return
        others = await bulk_actions.abort_others(pipe, action.id, action.created_by)
        await batches.abort_open(pipe, action.created_by)
        locked = await runs.lock_live(pipe, others)
        await abort_locked(pipe, locked, action.created_by, action.arguments.get("message"))

    async def act(self, pipe: Pipe, action: BulkAction, item_ids: Sequence[UUID]) -> Acted:
        """Abort as ``abortTask`` does."""
        arguments = action.arguments
        lock = runs.lock_live_families if arguments.get("cascade", True) else runs.lock_live
        locked = await lock(pipe, item_ids)
        changed = await abort_locked(
            pipe, locked, action.created_by, arguments.get("message"), force=arguments.get("force", False)
        )
        chosen = set(item_ids)
        aborted = chosen & set(locked)
        errors: list[ItemError] = []
        if "ids" in action.selection:
            errors = await _why_not(pipe, chosen - aborted, FINAL, TaskRunNotAbortable)
        return Acted(len(aborted), errors, tell=lambda: tell_aborted(self._events, changed))


class DeleteRuns(_OnRuns):
    """Deletes final runs with their logs and iterations; those that are pinned or that a live run needs stay."""

    size = 2000
    among = FINAL
    extra = (TABLE.c.is_pinned.is_(False),)

    async def act(self, pipe: Pipe, action: BulkAction, item_ids: Sequence[UUID]) -> Acted:
        """Delete as a purge does: bounded by log lines as well."""
        history = History(pipe)
        near = await history.choose(item_ids)
        locked = {row["id"] for row in await history.lock([row["id"] for row in near if not row["is_needed"]])}
        if locked:
            await history.delete(sorted(locked))
        until = near[-1]["id"] if near and near[-1]["is_cut"] else item_ids[-1]
        looked_at = {id for id in item_ids if id <= until}
        errors = [_needed(row["id"]) for row in near if row["is_needed"]]
        if "ids" in action.selection:
            left = looked_at - locked - {error.item_id for error in errors}
            errors += await _why_not(pipe, left, LIVE, TaskRunNotFinal, _PINNED)
        return Acted(len(locked), errors, until)


class RerunRuns(_OnRuns):
    """Triggers runs again, each once, however often a step is repeated: by an idempotency key for each."""

    size = 250

    def __init__(self, reading: Reading, rerunning: Rerunning) -> None:
        self._reading = reading
        self._rerunning = rerunning

    async def act(self, pipe: Pipe, action: BulkAction, item_ids: Sequence[UUID]) -> Acted:
        """Rerun as ``rerunTask`` does."""
        found: Mapping[UUID, TaskRun] = await self._reading.find(item_ids)
        errors: list[ItemError] = []
        if "ids" in action.selection:
            errors = [_error(id, TaskRunNotFound(id)) for id in item_ids if id not in found]
        again = [found[id] for id in item_ids if id in found]
        answers = await self._rerunning.rerun_many(
            again,
            RerunFrom(action.arguments.get("from", RerunFrom.START)),
            Principal.parse(action.created_by),
            key=f"bulk-action/{action.id}",
            allow_private=action.arguments.get("allow_private", False),
        )
        errors += [
            _error(run.id, answer) for run, answer in zip(again, answers, strict=True) if isinstance(answer, TaskError)
        ]
        return Acted(sum(not isinstance(answer, TaskError) for answer in answers), errors)


def on_runs(events: Events, reading: Reading, rerunning: Rerunning) -> dict[BulkActionKind, Work]:
    """The work of each kind of bulk action on runs."""
    abort, delete = AbortRuns(events), DeleteRuns()
    return {
        BulkActionKind.ABORT_RUNS: abort,
        BulkActionKind.STOP_ALL: abort,
        BulkActionKind.DELETE_RUNS: delete,
        BulkActionKind.CLEAR_EXECUTIONS: delete,
        BulkActionKind.RERUN_RUNS: RerunRuns(reading, rerunning),
    }


_PINNED = ItemError(UUID(int=0), ErrorCode.BAD_USER_INPUT, "The run is pinned, so it is not deleted. Unpin it first.")


async def _why_not(
    pipe: Pipe,
    run_ids: Collection[UUID],
    wrong: Collection[TaskRunStatus],
    refusal: type[TaskRunNotAbortable] | type[TaskRunNotFinal],
    otherwise: ItemError | None = None,
) -> list[ItemError]:
    """Why nothing was done to runs: they are not there, or stand in a wrong status."""
    if not run_ids:
        return []
    found = {row["id"]: row["status"] for row in await runs.statuses_of(pipe, list(run_ids))}
    errors: list[ItemError] = []
    for id in sorted(run_ids):
        if id not in found:
            errors.append(_error(id, TaskRunNotFound(id)))
        elif TaskRunStatus(found[id]) in wrong:
            errors.append(_error(id, refusal(id, found[id])))
        elif otherwise is not None:
            errors.append(ItemError(id, otherwise.code, otherwise.message))
    return errors


def _needed(run_id: UUID) -> ItemError:
    return ItemError(
        run_id,
        ErrorCode.TASK_RUN_NOT_FINAL,
        "A run that is not final may still look at it: its parent, a child of it, or one that waits for it.",
    )


def _error(item_id: UUID, refusal: TaskError) -> ItemError:
    return ItemError(item_id, refusal.code, refusal.message)
