"""What a run should look like after each step, worked out from ``app.states`` alone, without a database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app import states
from app.states import FINAL, HELD, UNSUCCESSFUL, FailurePolicy, Landing, Move, Reason, RunError, Status

MAX_INTERRUPTIONS = 2
MAX_ATTEMPTS = 2


@dataclass
class ModelRun:
    """One run as it should be stored."""

    id: UUID
    status: Status
    parent: UUID | None = None
    reason: Reason | None = None
    iteration: int = 1
    attempt: int = 1
    interruptions: int = 0
    claim_no: int = 0
    write_no: int = 0
    owner: UUID | None = None
    state: Any = None
    error: str | None = None
    started: bool = False
    wait_for: tuple[UUID, ...] = ()
    policy: FailurePolicy | None = None
    lines: list[tuple[int, int, int, str]] = field(default_factory=list)
    closed: list[tuple[int, int, int, str, str | None]] = field(default_factory=list)
    touched: bool = True
    """Whether the last step may have changed the row at all."""

    def land(self, move: Move) -> Landing:
        """Where a move leads from here; raises ``IllegalMove``."""
        budget = {"interruptions": self.interruptions, "max_interruptions": MAX_INTERRUPTIONS}
        return move.land(self.status, self.reason, **budget)

    def stand(self, move: Move) -> None:
        """A move that changes the status and nothing that counts."""
        landing = self.land(move)
        self.touched, self.status, self.reason = True, landing.status, landing.reason
        if landing.status in FINAL:
            self.wait_for, self.error = (), None

    def become_due(self) -> None:
        """Queued again."""
        self.stand(states.become_due())
        self.wait_for = ()

    def fail_with_child(self) -> None:
        """One of the runs that it waits for did not succeed."""
        error = RunError("ChildFailed", "")
        self.stand(states.fail_with_child(error))
        self.error = error.type

    def be_claimed(self, owner: UUID) -> None:
        """A worker takes the lease."""
        self.stand(states.claim())
        self.owner, self.claim_no, self.started = owner, self.claim_no + 1, True

    def be_written(self, messages: list[str], state: Any) -> None:
        """An accepted write of the holder."""
        self.touched, self.write_no = True, self.write_no + 1
        self.state = self.state if state is None else state
        first = len(self.lines) + 1
        self.lines += [(first + n, self.iteration, self.attempt, text) for n, text in enumerate(messages)]

    def end_attempt(self, move: Move) -> None:
        """The holder settles the run, or the reaper does."""
        landing = self.land(move)
        error = move.error.type if move.error else None
        self.closed.append((self.claim_no, self.iteration, self.attempt, str(landing.outcome), error))
        self.touched, self.owner, self.error = True, None, error
        self.status, self.reason = landing.status, landing.reason
        self.wait_for = move.wait_for if landing.status is Status.WAITING else ()
        if move.next_iteration:
            self.interruptions, self.policy = 0, move.failure_policy
        elif move.is_interruption:
            self.interruptions += 1
        if landing.status not in FINAL:
            self.iteration += move.next_iteration
            self.attempt = 1 if move.next_iteration else self.attempt + move.next_attempt

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def is_held(self) -> bool:
        return self.status in HELD


class Model:
    """All the runs."""

    def __init__(self) -> None:
        self.runs: dict[UUID, ModelRun] = {}

    def family(self, run_id: UUID) -> list[ModelRun]:
        """A run and all below it that are not final."""
        children = [child for run in self.runs.values() if run.parent == run_id for child in self.family(run.id)]
        return [run for run in (self.runs[run_id],) if not run.is_final] + children

    def dispatch(self, due: UUID | None = None) -> None:
        """Parents whose children are all final are queued, or fail with one; so is the sleeper whose time has come."""
        for run in self.runs.values():
            if run.id == due and run.status in states.ASLEEP and not run.wait_for:
                run.become_due()
        while self._fail_those(self.runs):
            pass
        self._make_due(self.runs)

    def tell_parents(self, ended: list[ModelRun]) -> None:
        """Runs that their worker or the reaper ended wake parents that waited for the last of their children."""
        while parents := {run.parent: run for run in ended if run.is_final and run.parent}:
            ended = self._fail_those({run.parent for run in ended if run.parent and run.status in UNSUCCESSFUL})
            self._make_due(parents)

    def _fail_those(self, run_ids: Iterable[UUID]) -> list[ModelRun]:
        """Those of the runs fail that have to with a child, and their children are aborted; in order of their ids."""
        failed: list[ModelRun] = []
        for run in [self.runs[run_id] for run_id in sorted(run_ids) if self._has_to_fail(self.runs[run_id])]:
            if self._has_to_fail(run):
                children = [member for member in self.family(run.id) if member is not run]
                run.fail_with_child()
                self.abort(children)
                failed.append(run)
        return failed

    def _make_due(self, run_ids: Iterable[UUID]) -> None:
        for run in [self.runs[run_id] for run_id in run_ids]:
            waits = run.status is Status.WAITING and run.wait_for
            if waits and self._all_final(run.wait_for) and not self._has_to_fail(run):
                run.become_due()

    def _has_to_fail(self, run: ModelRun) -> bool:
        is_asked = run.status is Status.WAITING and run.policy is FailurePolicy.FAIL_PARENT
        return is_asked and any(self.runs[id].status in UNSUCCESSFUL for id in run.wait_for if id in self.runs)

    def abort(self, runs: list[ModelRun], *, force: bool = False) -> None:
        """An abort of all of these, at once where nobody holds them."""
        for run in runs:
            if run.status is Status.ABORTING:
                run.touched = run.touched or force
            else:
                run.stand(states.ask_abort() if run.is_held else states.abort())

    def _all_final(self, run_ids: tuple[UUID, ...]) -> bool:
        return all(run_id not in self.runs or self.runs[run_id].is_final for run_id in run_ids)


def grouped(rows: list[Any]) -> dict[UUID, list[Any]]:
    """Rows that begin with a run's id, without it, by run."""
    found: dict[UUID, list[Any]] = {}
    for run_id, *values in rows:
        found.setdefault(run_id, []).append(tuple(values))
    return found


def stored(row: dict[str, Any]) -> dict[str, Any]:
    """What is compared of a run's row."""
    names = ("status", "status_reason", "iteration", "attempt", "interruptions", "claim_no", "write_no", "lease_owner",
             "state", "log_count", "log_info")  # fmt: skip
    error = row["error"]
    return {
        **{name: row[name] for name in names},
        "error": error["type"] if error else None,
        "wait_for": tuple(row["wait_for"] or ()),
        "policy": row["failure_policy"],
    }


def expected(run: ModelRun) -> dict[str, Any]:
    """The same of the model."""
    return {
        "status": run.status, "status_reason": run.reason, "iteration": run.iteration, "attempt": run.attempt,
        "interruptions": run.interruptions, "claim_no": run.claim_no, "write_no": run.write_no,
        "lease_owner": run.owner, "state": run.state, "log_count": len(run.lines), "log_info": len(run.lines),
        "error": run.error, "wait_for": run.wait_for, "policy": run.policy,
    }  # fmt: skip
