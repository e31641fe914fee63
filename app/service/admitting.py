"""Triggers of definitions that refuse, or abort their oldest runs, when a limit is full.

All of it happens in the insert's transaction, under the lock that claims of the definition take as well: so two servers
at once never let in more than the limit.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app import runs
from app.counting import counted
from app.db import Pipe, Row
from app.errors import LimitReached, UniqueConflict
from app.limited_runs import LimitedRuns, Live
from app.limits import Full, Limits, Measure, Scope, WhenFull
from app.service.cooling import cool_down, give_back, is_cooled
from app.service.preparing import NewRun, in_key_order
from app.service.repetitions import unknown
from app.service.replacing import make_way, replaces
from app.service.stopping import abort_family
from app.task_errors import CooldownActive

Refused = dict[UUID, LimitReached | CooldownActive | UniqueConflict]


@dataclass(slots=True)
class Admitted:
    """What came of an insert: the ids of the stored runs, the refusals by id, and the rows that were aborted for it."""

    inserted: list[UUID]
    refused: Refused = field(default_factory=dict[UUID, LimitReached | CooldownActive | UniqueConflict])
    aborted: list[Row] = field(default_factory=list[Row])


def is_admitted(new: NewRun) -> bool:
    """Whether a limit or a cooldown decides about the trigger itself, or it takes a unique key from another run."""
    return is_cooled(new) or _is_limited(new) or replaces(new)


def _is_limited(new: NewRun) -> bool:
    # A run whose start lies ahead only waits, once it is due.
    limits = new.known.limits
    return limits is not None and limits.when_full is not WhenFull.QUEUE and new.is_due


async def admit(pipe: Pipe, new: Sequence[NewRun]) -> Admitted:
    """Insert runs, no two of which share a key, as far as the limits of their definitions let them in.

    In one transaction. Raises ``Overtaken``, and then nothing of it may be committed.
    """
    for run in new:
        run.wait_until_final(())
    limited = await _locked(pipe, new)
    asking: Sequence[NewRun] = await unknown(pipe, new)
    refused: Refused = {**await _cooling(pipe, asking)}
    asking = _without(refused, asking)
    for each in limited:
        decide = _refused if each.limits.when_full is WhenFull.REJECT else _below_too_many
        refused |= await decide(each, _of(each, _without(refused, asking)))
    # Whoever is refused aborts nobody.
    way = await make_way(pipe, _without(refused, asking))
    refused |= way.refused
    let_in = _without(refused, new)
    inserted = await runs.insert(pipe, [run.stored() for run in in_key_order(let_in)]) if let_in else []
    stored = set(inserted)
    way.check(stored)
    await give_back(pipe, _without(stored, asking))
    aborted = await _make_room(pipe, limited, [run for run in let_in if run.id in stored])
    return Admitted(inserted, refused, [*way.aborted, *aborted])


async def _locked(pipe: Pipe, new: Sequence[NewRun]) -> list[LimitedRuns]:
    """The definitions whose limits decide about a trigger, each under its lock, which are taken in one order."""
    definitions = {run.known.id: run.known.limits for run in new if run.known.limits and _is_limited(run)}
    each = [LimitedRuns(pipe, id, limits) for id, limits in sorted(definitions.items())]
    for limited in each:
        await limited.lock()
    return each


def _without(ids: Container[UUID], new: Sequence[NewRun]) -> list[NewRun]:
    return [run for run in new if run.id not in ids]


def _of(limited: LimitedRuns, new: Sequence[NewRun]) -> list[NewRun]:
    return [run for run in new if run.known.id == limited.definition_id]


# Refusing.


async def _cooling(pipe: Pipe, asking: Sequence[NewRun]) -> dict[UUID, CooldownActive]:
    """The refusals of those that meet a cooldown, but not of repetitions whose first run was stored just before."""
    refused = await cool_down(pipe, asking)
    first: Sequence[NewRun] = await unknown(pipe, [run for run in asking if run.id in refused]) if refused else []
    return {run.id: refused[run.id] for run in first}


async def _refused(limited: LimitedRuns, new: Sequence[NewRun]) -> dict[UUID, LimitReached]:
    """The refusals of those that meet a limit; the others take up their room in turn."""
    live = await limited.count_live({_key(run) for run in new})
    refused: dict[UUID, LimitReached] = {}
    for run in new:
        full = live.tally.full(limited.limits, _key(run), first=True)
        if full is None:
            live.add(_key(run))
        else:
            refused[run.id] = await _refusal(limited, live, full, _key(run))
    return refused


async def _refusal(limited: LimitedRuns, live: Live, full: Full, key: str) -> LimitReached:
    whose = key if full.scope is Scope.KEY else None
    bounds = limited.limits.bounds(full.scope)
    retry_at: datetime | None = None
    limit = f"{bounds.concurrency} at once"
    if full.measure is Measure.RATE and bounds.rate:
        limit = f"{counted(bounds.rate.starts, 'start')} in {bounds.rate.seconds} s"
        retry_at = await limited.room_at(whose, bounds.rate, live.waiting[whose])
    return LimitReached(limited.definition_id, limit, whose, retry_at)


# Aborting the oldest.


async def _below_too_many(limited: LimitedRuns, new: Sequence[NewRun]) -> dict[UUID, LimitReached]:
    """The refusals of those whose ancestors take up a limit: no run takes the place of one that it belongs to."""
    above = await _ancestors(limited, new)
    each, whole = limited.limits.max_concurrency_per_key, limited.limits.max_concurrency
    refused: dict[UUID, LimitReached] = {}
    for run in new:
        keys = [row["key"] for row in above[run.id]]
        for limit, taken, key in ((each, keys.count(_key(run)), _key(run)), (whole, len(keys), None)):
            if limit is not None and taken >= limit:
                held = "this one would belong to all of them, so that it can abort none"
                refused[run.id] = LimitReached(limited.definition_id, f"{limit} at once", key, None, held)
    return refused


async def _ancestors(limited: LimitedRuns, new: Sequence[NewRun]) -> dict[UUID, list[Row]]:
    """For each run, the live runs of the definition that it is to belong to, directly or not."""
    parents = [(n, parent) for n, run in enumerate(new) if (parent := run.values["parent_id"]) is not None]
    above: dict[UUID, list[Row]] = {run.id: [] for run in new}
    for row in await limited.live_ancestors(parents):
        n: int = row["n"]
        above[new[n].id].append(row)
    return above


async def _make_room(pipe: Pipe, limited: Sequence[LimitedRuns], stored: Sequence[NewRun]) -> list[Row]:
    """Abort the oldest runs of the definitions that want it so; the rows of those that were."""
    aborted: list[Row] = []
    for each in limited:
        if each.limits.when_full is WhenFull.ABORT_OLDEST:
            aborted += await _abort_oldest(pipe, each, _of(each, stored))
    return aborted


async def _abort_oldest(pipe: Pipe, limited: LimitedRuns, latest: Sequence[NewRun]) -> list[Row]:
    changed: list[Row] = []
    ids = [run.id for run in latest]
    for key, limit, by in _crowded(limited.limits, latest):
        which = f"'{limited.definition_id}'" + ("" if key is None else f" with the key '{key}'")
        message = f"Superseded by run {by.id}: at most {limit} of {which} at once."
        spared = [by.id, *(row["id"] for row in (await _ancestors(limited, [by]))[by.id])]
        for run_id in await limited.above(key, limit, ids, spared):
            changed += await abort_family(pipe, run_id, str(by.values["created_by"]), message)
    return changed


def _crowded(limits: Limits, latest: Iterable[NewRun]) -> Iterator[tuple[str | None, int, NewRun]]:
    """Each key, and at last the whole definition as None, with its limit and the newest run that counts there."""
    each, whole = limits.max_concurrency_per_key, limits.max_concurrency
    if each is not None:
        yield from ((key, each, run) for key, run in {_key(run): run for run in latest}.items())
    if whole is not None:
        yield from ((None, whole, run) for run in list(latest)[-1:])


def _key(run: NewRun) -> str:
    return run.values["limit_key"]
