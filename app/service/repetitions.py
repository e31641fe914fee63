"""Triggers that repeat others: they are given the run that is there, so whoever refuses has to tell them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar
from uuid import UUID

from app import runs
from app.db import Pipe
from app.errors import TaskError
from app.service.preparing import NewRun
from app.service.requests import UniquePolicy

Refusal = TypeVar("Refusal", bound=TaskError)


async def unknown(pipe: Pipe, new: Sequence[NewRun]) -> list[NewRun]:
    """Those that would be stored: not the ones whose first insert lost its reply, nor those that lead to other runs."""
    keys = [(n, run.known.id, run.values["idempotency_key"]) for n, run in enumerate(new)]
    keyed = [key for key in keys if key[2] is not None]
    shared = [(n, run.known.id, run.values["unique_key"]) for n, run in enumerate(new) if _shares(run)]
    held = {row["n"] for row in await runs.same_idempotency_key(pipe, keyed)}
    held |= {row["n"] for row in await runs.same_unique_key(pipe, shared)}
    there = await runs.stored_among(pipe, [run.id for run in new])
    first = {(definition_id, key): n for n, definition_id, key in reversed(keyed)}
    return [
        run
        for n, run in enumerate(new)
        if run.id not in there and n not in held and first.get((keys[n][1], keys[n][2]), n) == n
    ]


def refused_with(refused: Mapping[UUID, Refusal], new: Sequence[NewRun]) -> dict[UUID, Refusal]:
    """The refusals, and the same ones for those that repeat by their idempotency key what was refused."""
    keys = {_key(run): refused[run.id] for run in new if run.id in refused and run.values["idempotency_key"]}
    return {**{run.id: keys[_key(run)] for run in new if _key(run) in keys}, **refused}


def _key(run: NewRun) -> tuple[str, str | None]:
    return run.known.id, run.values["idempotency_key"]


def _shares(run: NewRun) -> bool:
    return run.unique_policy is UniquePolicy.RETURN_EXISTING
