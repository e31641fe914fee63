"""Which of the runs that wait for a limit fit: the decision, pure, apart from the SQL that counts and claims."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.limits import Full, Limits, Measure, Scope, Tally
from app.states import Reason


@dataclass(frozen=True, slots=True)
class Candidate:
    """A due run of a definition with limits. ``first`` says that it never started, ``parked`` whose limit it met."""

    id: UUID
    claim_no: int
    queue: str
    priority: int
    due_at: datetime
    key: str
    first: bool
    parked: Scope | None
    reason: Reason | None

    @property
    def order(self) -> tuple[int, datetime, UUID]:
        """Where it stands in the order of claims."""
        return (-self.priority, self.due_at, self.id)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was decided: those that fit, in order, and what each of the others waits for."""

    fitting: list[Candidate]
    waiting: list[tuple[Candidate, Full]]

    def to_park(self) -> list[tuple[Candidate, Full]]:
        """Those that wait for something else than their row says."""
        return [(run, full) for run, full in self.waiting if (run.parked, run.reason) != (full.scope, reason(full))]


def fit(limits: Limits, tally: Tally, candidates: Iterable[Candidate]) -> Fitted:
    """Go through the candidates in the order of claims and let in those that meet no limit; ``tally`` counts them.

    A run that only waits for the definition keeps its place under its key. So no more runs wait for the definition
    than could go on, and a key with a long queue hides no other key.
    """
    fitted = Fitted([], [])
    for run in sorted({run.id: run for run in candidates}.values(), key=lambda run: run.order):
        full = tally.full(limits, run.key, first=run.first)
        if full is None or full.scope is Scope.DEFINITION:
            tally.add(run.key, first=run.first)
        if full is None:
            tally.add(None, first=run.first)
            fitted.fitting.append(run)
        else:
            fitted.waiting.append((run, full))
    return fitted


def reason(full: Full) -> Reason:
    """The reason that people see at a run which meets this limit."""
    return Reason.CONCURRENCY_LIMIT if full.measure is Measure.CONCURRENCY else Reason.RATE_LIMIT


def taken_up(fitted: Fitted, rung: Collection[UUID], capacity: int) -> tuple[list[Candidate], list[Candidate]]:
    """Of those that fit, the first ``capacity`` to be claimed, and those to be rung for because they were not.

    Whoever was rung for makes room for an earlier one, and is rung for again.
    """
    left = fitted.fitting[capacity:]
    return fitted.fitting[:capacity], [run for run in left if run.id in rung]
