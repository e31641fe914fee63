"""Cooldowns of triggers: a definition that has one is triggered once within it, and each of its saved tasks once.

In the insert's transaction, under the lock of the cooldown's row: of two servers at once only one lets a run in.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from app import cooldowns
from app.db import Pipe
from app.service.preparing import NewRun
from app.task_errors import CooldownActive


def is_cooled(new: NewRun) -> bool:
    """Whether the definition of a run has a cooldown."""
    return new.known.cooldown_seconds is not None


async def cool_down(pipe: Pipe, new: Sequence[NewRun]) -> dict[UUID, CooldownActive]:
    """Begin the cooldowns of runs that are to be stored; the refusals of those that meet an active one, by id."""
    cooled = [run for run in new if is_cooled(run)]
    # The first of those that share a subject is the one that may be let in.
    first = {_subject(run): run for run in reversed(cooled)}
    if not first:
        return {}
    asked = [(subject, run.known.cooldown_seconds or 0.0, run.id) for subject, run in sorted(first.items())]
    held = {row["subject"]: row for row in await cooldowns.take(pipe, asked)}
    return {
        run.id: CooldownActive(run.known.id, active["until"], active["run_id"])
        for run in cooled
        if (active := held[_subject(run)])["run_id"] != run.id
    }


async def give_back(pipe: Pipe, new: Sequence[NewRun]) -> None:
    """End the cooldowns that were begun for runs which were not stored after all."""
    if run_ids := [run.id for run in new if is_cooled(run)]:
        await cooldowns.give_back(pipe, run_ids)


def _subject(run: NewRun) -> str:
    task_id = run.values["task_id"]
    return f"definition:{run.known.id}" if task_id is None else f"task:{task_id}"
