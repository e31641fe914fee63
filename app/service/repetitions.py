"""Triggers that repeat others: they are given the run that is there, so whoever refuses has to tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from app import runs
from app.db import Pipe
from app.errors import TaskError
from app.service.preparing import NewRun, first_of_each_key
from app.service.requests import UniquePolicy

Refusal = TypeVar("Refusal", bound=TaskError)


async def unknown(pipe: Pipe, new: Sequence[NewRun]) -> Sequence[NewRun]:
    """Those that would be stored: not the ones whose first insert lost its reply, nor those that meet another run by
    one of their keys, be it stored or one that comes before them here.
    """
    keyed = [(n, run.known.id, key) for n, run in enumerate(new) if (key := run.values["idempotency_key"]) is not None]
    unique = [(n, run.known.id, run.values["unique_key"]) for n, run in enumerate(new) if _gives_way(run)]
    held = {row["n"] for row in await runs.same_idempotency_key(pipe, keyed)}
    held |= {row["n"] for row in await runs.same_unique_key(pipe, unique)}
    there = await runs.stored_among(pipe, [run.id for run in new])
    return first_of_each_key([run for n, run in enumerate(new) if run.id not in there and n not in held])


def refused_with(
    refused: Mapping[UUID, Refusal], new: Sequence[NewRun], alike: Sequence[str] = ()
) -> dict[UUID, Refusal]:
    """The refusals, and the same ones for those that come later, share a key with what was refused, and are ``alike``.

    ``alike`` names the columns that a refusal depends on.
    """
    answers = dict(refused)
    by_key: dict[tuple[Any, ...], Refusal] = {}
    for run in new:
        shared = [(*key, *(run.values[name] for name in alike)) for key in sorted(run.keys)]
        if run.id in refused:
            by_key |= dict.fromkeys(shared, refused[run.id])
        elif known := [by_key[key] for key in shared if key in by_key]:
            answers[run.id] = known[0]
    return answers


def _gives_way(run: NewRun) -> bool:
    """Whether a run is not stored while another one holds its unique key."""
    return run.values["unique_key"] is not None and run.unique_policy is not UniquePolicy.REPLACE
