"""The checker: what the database saw and what clients were told, against the invariants I1 to I7. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

from app.states import FINAL, HELD
from tests.chaos.definitions import RETRIES
from tests.chaos.history import Row, RunHistory

ENDED = {status.value for status in FINAL}
HOLDING = {status.value for status in HELD}
ALLOWED = {
    "SCHEDULED": {"QUEUED", "ABORTED", "EXPIRED"},
    "QUEUED": {"RUNNING", "ABORTED", "EXPIRED"},
    "RUNNING": {"RUNNING", "QUEUED", "WAITING", "ABORTING", "SUCCEEDED", "FAILED", "LOST"},
    "ABORTING": {"ABORTING", "SUCCEEDED", "FAILED", "ABORTED"},
    "WAITING": {"QUEUED", "ABORTED"},
}
AGAIN = {"INTERRUPTED", "LOST"}
STRICT = "chaos-steps"
"""The definition whose lines and states are saved together, so that its lines are 1..n in the runs' end."""


class Violation(NamedTuple):
    """Which invariant was broken, by which run, and how."""

    invariant: str
    run_id: UUID | None
    what: str


@dataclass
class Told:
    """What clients were told: each key's runs as they were acknowledged, and the runs whose abort was."""

    runs: dict[str, list[UUID]] = field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    aborted: set[UUID] = field(default_factory=set)


def check(runs: dict[UUID, RunHistory], told: Told, max_interruptions: int) -> list[Violation]:
    """Everything that is wrong."""
    found = [*_promises(runs, told)]
    for run_id, run in runs.items():
        if not run.row:
            found.append(Violation("I1", run_id, "its row is gone"))
            continue
        for part in (_changes(run), _bounds(run, max_interruptions), _log(run), _attempts(run), _result(run)):
            found += [Violation(invariant, run_id, what) for invariant, what in part]
    return found


def _promises(runs: dict[UUID, RunHistory], told: Told) -> Iterator[Violation]:
    """I1 and I7: acknowledged runs are there and final, a key has one run; I5: acknowledged aborts are recorded."""
    rows = {run_id: run.row for run_id, run in runs.items() if run.row}
    for key, ids in told.runs.items():
        if len(set(ids)) > 1:
            yield Violation("I7", ids[0], f"key {key} was given {len(set(ids))} runs")
        for run_id in set(ids):
            if run_id not in runs:
                yield Violation("I1", run_id, "acknowledged, but not there")
            elif (row := rows.get(run_id)) and (row["idempotency_key"] != key or row["input"] != told.inputs[key]):
                yield Violation("I7", run_id, f"is not what was triggered with key {key}")
    for run_id, row in rows.items():
        if row["status"] not in ENDED:
            yield Violation("I1", run_id, f"is {row['status']} in the end")
        if run_id in told.aborted and row["abort_requested_at"] is None:
            yield Violation("I5", run_id, "its acknowledged abort is not recorded")
    yield from _keys(rows)


def _keys(rows: dict[UUID, Row]) -> Iterator[Violation]:
    """I7, also for runs that no client was told of."""
    holders: dict[tuple[str, str], UUID] = {}
    for run_id, row in rows.items():
        key = (row["definition_id"], row["idempotency_key"])
        if row["idempotency_key"] is not None and holders.setdefault(key, run_id) != run_id:
            yield Violation("I7", run_id, f"has key {row['idempotency_key']}, as run {holders[key]} has")


Found = Iterator[tuple[str, str]]


def _changes(run: RunHistory) -> Found:
    """I2, I3 and I5, in every single change."""
    if not run.changes or run.changes[0]["operation"] != "INSERT":
        yield "I2", "begins without an insert"
    for old, new in pairwise(run.changes):
        step = f"{old['status']} -> {new['status']} (claim {old['claim_no']} -> {new['claim_no']})"
        if old["status"] in ENDED:
            yield "I3", f"changes after its end: {step}"
            continue
        if new["status"] not in ALLOWED[old["status"]]:
            yield "I5" if old["status"] == "ABORTING" else "I2", f"moves by no rule: {step}"
        claimed = (old["status"], new["status"]) == ("QUEUED", "RUNNING")
        if new["claim_no"] != old["claim_no"] + claimed:
            yield "I2", f"has another claim without being claimed, or the other way round: {step}"
        if claimed and old["abort_requested_at"] is not None:
            yield "I5", f"an attempt starts after the abort: {step}"
        if old["status"] in HOLDING and new["status"] in HOLDING and old["lease_owner"] != new["lease_owner"]:
            yield "I2", f"passes from one holder to another: {step}"
        for what in _writing(old, new):
            yield "I2", f"{what}: {step}"


def _writing(old: Row, new: Row) -> Iterator[str]:
    """What is wrong in what a change writes: it must come from the claim that holds the run, and go forwards."""
    wrote = new["write_no"] - old["write_no"]
    if wrote not in (0, 1) or (wrote and old["status"] not in HOLDING):
        yield f"write {old['write_no']} is followed by {new['write_no']}"
    for name in ("state", "output"):
        value = new[name]
        if value != old[name]:
            if not wrote:
                yield f"{name} changes without a write"
            claim = (value or {}).get("claim")
            if claim != new["claim_no"]:
                yield f"{name} comes from claim {claim}"
    if (new["state"] or {"at": 0})["at"] < (old["state"] or {"at": 0})["at"]:
        yield f"the state goes back from {old['state']} to {new['state']}"
    if new["error"] != old["error"] and (new["error"] or {}).get("type") == "ConnectionError":
        claim = new["error"]["message"]
        if claim != f"claim {new['claim_no']}":
            yield f"the error comes from {claim}"
    if new["log_count"] < old["log_count"] or (new["log_count"] > old["log_count"] and not wrote):
        yield f"{old['log_count']} lines become {new['log_count']}"


def _bounds(run: RunHistory, max_interruptions: int) -> Found:
    """I6."""
    for change in run.changes:
        if change["attempt"] > run.row["max_attempts"] or change["iteration"] > run.row["max_iterations"]:
            yield "I6", f"attempt {change['attempt']} of iteration {change['iteration']}"
        if change["interruptions"] > max_interruptions + (change["status"] in ENDED):
            yield "I6", f"{change['interruptions']} interruptions"
    if run.row["status"] == "LOST" and run.row["interruptions"] <= max_interruptions:
        yield "I6", f"is LOST after {run.row['interruptions']} interruptions"


def _log(run: RunHistory) -> Found:
    """I4; and I2: a line is written under the claim that it comes from."""
    sequences = [line["sequence"] for line in run.lines]
    if sequences != list(range(1, run.row["log_count"] + 1)):
        yield "I4", f"{run.row['log_count']} lines were counted, and these are there: {sequences}"
    for line in run.lines:
        claim = (line["data"] or {}).get("claim")
        if claim is not None and claim != line["holding"]:
            yield "I2", f"line {line['sequence']} of claim {claim} was written under claim {line['holding']}"
    claims = [line["data"]["claim"] for line in run.lines if line["data"]]
    if claims != sorted(claims):
        yield "I2", f"lines of an older claim follow those of a newer one: {claims}"
    if run.row["definition_id"] == STRICT:
        reached = (run.row["state"] or {"at": 0})["at"]
        messages = [line["message"] for line in run.lines]
        if messages != [f"step {n}" for n in range(1, reached + 1)]:
            yield "I2", f"its steps are not 1 to {reached}: {messages}"


def _attempts(run: RunHistory) -> Found:
    """I2 and I6: claims without gap or repeat; each attempt follows from how the one before it ended."""
    claims = [attempt["claim_no"] for attempt in run.iterations]
    if claims != list(range(1, run.row["claim_no"] + 1)):
        yield "I2", f"{run.row['claim_no']} claims, and these attempts: {claims}"
    for old, new in pairwise(run.iterations):
        after = {"CONTINUED": (old["number"] + 1, 1), "RETRIED": (old["number"], old["attempt"] + 1)}
        after |= dict.fromkeys(AGAIN, (old["number"], old["attempt"]))
        if (new["number"], new["attempt"]) != after.get(old["outcome"]):
            yield "I6", f"{old['outcome']} is followed by attempt {new['attempt']} of iteration {new['number']}"


def _result(run: RunHistory) -> Found:
    """The recorded outcome is what the code did: nothing else may have failed it, and all the work is in it."""
    row, work = run.row, run.row["input"]
    is_flaky = row["definition_id"] == "chaos-flaky"
    if row["status"] == "SUCCEEDED":
        output = row["output"] or {}
        if output.get("at") != (work["fails"] + 1 if is_flaky else work["steps"]):
            yield "I2", f"succeeded with {output}"
        if any(status not in ENDED for status in output.get("children", ())):
            yield "I2", f"went on before its children were final: {output}"
    if row["status"] == "FAILED":
        has_tried = is_flaky and work["fails"] >= RETRIES and row["attempt"] == RETRIES
        if not has_tried or (row["error"] or {}).get("type") != "ConnectionError":
            yield "I2", f"failed by nothing that its code did: {row['status_reason']} {row['error']}"
    if row["status"] == "ABORTED" and row["abort_requested_at"] is None:
        yield "I5", "is ABORTED without having been asked to"


def summary(violations: Sequence[Violation]) -> dict[str, int]:
    """How many of each invariant."""
    names = sorted({violation.invariant for violation in violations})
    return {name: sum(violation.invariant == name for violation in violations) for name in names}
