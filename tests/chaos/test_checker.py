"""The checker of ``make chaos``: it finds nothing in what the engine does, and whatever is planted in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple
from uuid import UUID

import pytest

import app.migrations
from app import TaskService, lease_statements, states
from app.leases import Write
from app.settings import Settings
from app.states import FINAL, HELD, Status
from tests.chaos import history
from tests.chaos.checker import Told, check
from tests.chaos.healthy import MAX_INTERRUPTIONS, Making, be_forgotten, by_hand
from tests.chaos.history import RunHistory
from tests.chaos.worker import drop_fencing
from tests.conftest import new_database
from tests.unit.test_states import MOVES

STATUSES = {
    "succeeded": ("SUCCEEDED", ["SUCCEEDED"]),
    "chatty": ("SUCCEEDED", ["SUCCEEDED"]),
    "in a thread": ("SUCCEEDED", ["SUCCEEDED"]),
    "continued": ("SUCCEEDED", ["CONTINUED", "CONTINUED", "CONTINUED", "SUCCEEDED"]),
    "retried": ("SUCCEEDED", ["RETRIED", "RETRIED", "SUCCEEDED"]),
    "failed": ("FAILED", ["RETRIED", "RETRIED", "RETRIED", "FAILED"]),
    "waiting parent": ("SUCCEEDED", ["CONTINUED", "SUCCEEDED"]),
    "aborted": ("ABORTED", ["ABORTED"]),
    "aborted before its start": ("ABORTED", []),
    "expired": ("EXPIRED", []),
    "taken over": ("SUCCEEDED", ["LOST", "SUCCEEDED"]),
    "lost": ("LOST", ["LOST", "LOST"]),
    "interrupted": ("SUCCEEDED", ["INTERRUPTED", "SUCCEEDED"]),
}


@dataclass
class Recorded:
    """A database with a healthy run of every kind, and what was taken down of them."""

    url: str
    ids: dict[str, UUID]
    told: Told
    runs: dict[UUID, RunHistory]


@pytest.fixture(scope="module")
async def recorded(postgres_server_url: str, redis_server_url: str) -> AsyncIterator[Recorded]:
    """Made once: a test plants in a transaction that is rolled back, or in a copy."""
    async with new_database(postgres_server_url) as url:
        settings = await recording(url, redis_server_url)
        async with TaskService.connect(settings=settings) as tasks:
            making = Making(tasks, settings)
            await making.make()
        yield Recorded(url, making.ids, making.told, await history.load(url))


async def recording(url: str, redis_url: str) -> Settings:
    """Settings of a new database that takes down what it sees."""
    await app.migrations.upgrade(url)
    await history.install(url)
    return Settings(database_url=url, redis_url=redis_url)


@pytest.mark.parametrize("kind", STATUSES)
def test_a_healthy_run_breaks_nothing(recorded: Recorded, kind: str) -> None:
    run = recorded.runs[recorded.ids[kind]]
    assert (run.row["status"], [attempt["outcome"] for attempt in run.iterations]) == STATUSES[kind]
    assert check(recorded.runs, recorded.told, MAX_INTERRUPTIONS) == []


@pytest.mark.parametrize("kind", STATUSES)
def test_what_is_taken_down_of_a_run_ends_as_its_row_stands(recorded: Recorded, kind: str) -> None:
    run = recorded.runs[recorded.ids[kind]]
    last = run.changes[-1]
    names = last.keys() & run.row.keys()
    assert names >= {"status", "claim_no", "write_no", "log_count"}
    assert {name: last[name] for name in names} == {name: run.row[name] for name in names}


class Planted(NamedTuple):
    """A violation: what the checker should say of it, in which run, and the SQL that plants it there."""

    invariant: str
    words: str
    kind: str
    sql: str


def change(number: int, assignments: str) -> str:
    """Another content of one change as it was taken down: 0 is the first of the run, -1 the last."""
    order, offset = ("", number) if number >= 0 else ("DESC", -1 - number)
    return f"""UPDATE chaos_changes SET {assignments} WHERE number = (
        SELECT number FROM chaos_changes WHERE run_id = :run ORDER BY number {order} LIMIT 1 OFFSET {offset})"""


def changes(condition: str, assignments: str) -> str:
    """Another content of some of the changes."""
    return f"UPDATE chaos_changes SET {assignments} WHERE run_id = :run AND {condition}"


def row(assignments: str) -> str:
    """Another row in the end, by a change that nothing takes down."""
    return f"ALTER TABLE task_runs DISABLE TRIGGER chaos_change; UPDATE task_runs SET {assignments} WHERE id = :run"


def line(assignments: str) -> str:
    """Another first line."""
    return f"UPDATE task_logs SET {assignments} WHERE run_id = :run AND sequence = 1"


def attempt(claim_no: int, assignments: str) -> str:
    """Another attempt in the end."""
    return f"UPDATE task_iterations SET {assignments} WHERE run_id = :run AND claim_no = {claim_no}"


ONE_MORE_LINE = """INSERT INTO task_logs SELECT run_id, sequence + {after}, iteration, attempt, level, message, data,
    created_at FROM task_logs WHERE run_id = :run AND sequence = 3"""
SAME_RUN_AGAIN = """DROP INDEX task_runs_idempotency;
    CREATE TEMP TABLE again AS SELECT * FROM task_runs WHERE id = :run;
    UPDATE again SET id = gen_random_uuid(); INSERT INTO task_runs SELECT * FROM again"""
PLANTED = {
    "a run that was deleted": Planted("I1", "its row is gone", "succeeded", "DELETE FROM task_runs WHERE id = :run"),
    "a run whose abort was acknowledged and that was deleted": Planted(
        "I1", "its row is gone", "aborted", "DELETE FROM task_runs WHERE id = :run"
    ),
    "a run that is not final": Planted(
        "I1", "is WAITING in the end", "succeeded", row("status = 'WAITING', finished_at = NULL")
    ),
    "a run from nowhere": Planted(
        "I2", "begins without an insert", "succeeded",
        "DELETE FROM chaos_changes WHERE run_id = :run AND operation = 'INSERT'",
    ),
    "a run without any change": Planted(
        "I2", "begins without an insert", "succeeded", "DELETE FROM chaos_changes WHERE run_id = :run"
    ),
    "a forbidden move": Planted("I2", "moves by no rule", "expired", change(0, "status = 'WAITING'")),
    "a claim number without a claim": Planted(
        "I2", "has another claim without being claimed", "succeeded", change(-1, "claim_no = claim_no + 1")
    ),
    "a claim without a number of its own": Planted(
        "I2", "has another claim without being claimed", "succeeded", change(0, "claim_no = 1")
    ),
    "a second holder": Planted(
        "I2", "passes from one holder to another", "aborted",
        changes("status = 'ABORTING'", "lease_owner = gen_random_uuid()"),
    ),
    "a write that was left out": Planted("I2", " is followed by ", "succeeded", change(-1, "write_no = write_no + 1")),
    "a write that was taken back": Planted(
        "I2", " is followed by ", "succeeded", change(-1, "write_no = write_no - 2")
    ),
    "a write of nobody": Planted("I2", "write 0 is followed by 1", "expired", change(-1, "write_no = 1")),
    "a state without a write": Planted(
        "I2", "state changes without a write", "succeeded", change(1, """state = '{"at": 0, "claim": 1}'""")
    ),
    "an output without a write": Planted(
        "I2", "output changes without a write", "succeeded", change(-1, "write_no = write_no - 1")
    ),
    "a state of another claim": Planted(
        "I2", "state comes from claim 7", "succeeded", change(-1, """state = '{"at": 3, "claim": 7}'""")
    ),
    "an output of another claim": Planted(
        "I2", "output comes from claim 7", "succeeded", change(-1, """output = '{"at": 3, "claim": 7}'""")
    ),
    "a state that goes back": Planted(
        "I2", "the state goes back", "succeeded", change(-1, """state = '{"at": 0, "claim": 1}'""")
    ),
    "a state that vanishes": Planted("I2", "the state goes back", "succeeded", change(-1, "state = NULL")),
    "an error of another claim": Planted(
        "I2", "the error comes from claim 7", "retried",
        changes("claim_no = 1 AND error IS NOT NULL", """error = jsonb_set(error, '{message}', '"claim 7"')"""),
    ),
    "lines that vanish": Planted("I2", "3 lines become 0", "succeeded", change(-1, "log_count = 0")),
    "lines without a write": Planted("I2", "0 lines become 1", "succeeded", change(1, "log_count = 1")),
    "a line under another claim": Planted(
        "I2", "line 1 of claim 1 was written under claim 2", "succeeded",
        "UPDATE chaos_lines SET holding = 2 WHERE run_id = :run AND sequence = 1",
    ),
    "a line of an older claim after one of a newer": Planted(
        "I2", "lines of an older claim follow", "chatty",
        line("""data = '{"claim": 7}'""")
        + "; UPDATE chaos_lines SET holding = 7 WHERE run_id = :run AND sequence = 1",
    ),
    "a step that was done again": Planted(
        "I2", "its steps are not 1 to 3", "succeeded", line("message = 'step 2'")
    ),
    "an attempt that is missing": Planted(
        "I2", "3 claims, and these attempts: [2, 3]", "retried",
        "DELETE FROM task_iterations WHERE run_id = :run AND claim_no = 1",
    ),
    "work that was not done": Planted(
        "I2", "succeeded with", "succeeded", row("""output = '{"at": 2, "claim": 1}'""")
    ),
    "a success without an output": Planted("I2", "succeeded with", "succeeded", row("output = NULL")),
    "a failure that was skipped": Planted("I2", "succeeded with", "retried", row("""output = '{"at": 2}'""")),
    "a parent that did not wait": Planted(
        "I2", "went on before its children were final", "waiting parent",
        row("""output = jsonb_set(output, '{children, 0}', '"RUNNING"')"""),
    ),
    "a failure out of nothing": Planted("I2", "failed by nothing", "succeeded", row("status = 'FAILED'")),
    "a failure before the last attempt": Planted("I2", "failed by nothing", "failed", row("attempt = 3")),
    "a failure that would have been none": Planted(
        "I2", "failed by nothing", "retried",
        row("""status = 'FAILED', attempt = 4, error = '{"type": "ConnectionError", "message": "claim 3"}'"""),
    ),
    "a failure by another error": Planted(
        "I2", "failed by nothing", "failed", row("""error = '{"type": "OSError", "message": "disk"}'""")
    ),
    "a change after the end": Planted(
        "I3", "changes after its end", "succeeded", "UPDATE task_runs SET name = name WHERE id = :run"
    ),
    "a change after the end beside its group": Planted(
        "I3", "changes after its end", "failed",
        "UPDATE task_runs SET error_group = 'some', name = 'other' WHERE id = :run",
    ),
    "a line that is missing": Planted(
        "I4", "3 lines were counted, and these are there: [1, 3]", "chatty",
        "DELETE FROM task_logs WHERE run_id = :run AND sequence = 2",
    ),
    "a line that was not counted": Planted(
        "I4", "3 lines were counted, and these are there: [1, 2, 3, 4]", "chatty", ONE_MORE_LINE.format(after=1)
    ),
    "a line that was stored twice": Planted(
        "I4", "3 lines were counted, and these are there: [1, 2, 3, 3", "chatty",
        "ALTER TABLE task_logs DROP CONSTRAINT task_logs_pkey;" + ONE_MORE_LINE.format(after=0),
    ),
    "an attempt after the abort": Planted(
        "I5", "an attempt starts after the abort", "succeeded", change(0, "abort_requested_at = now()")
    ),
    "a way back from an abort": Planted("I5", "moves by no rule", "aborted", change(-1, "status = 'QUEUED'")),
    "an abort that was forgotten": Planted(
        "I5", "its acknowledged abort is not recorded", "aborted", row("abort_requested_at = NULL")
    ),
    "an abort that nobody asked for": Planted(
        "I5", "without having been asked to", "succeeded", row("status = 'ABORTED'")
    ),
    "too many attempts": Planted("I6", "attempt 2 of iteration 1", "succeeded", change(-1, "attempt = 2")),
    "too many iterations": Planted("I6", "attempt 1 of iteration 2", "succeeded", change(-1, "iteration = 2")),
    "too many interruptions of a live run": Planted(
        "I6", "2 interruptions", "interrupted", change(-2, "interruptions = 2")
    ),
    "too many interruptions of a final run": Planted("I6", "3 interruptions", "lost", change(-1, "interruptions = 3")),
    "a run that is given up too early": Planted(
        "I6", "is LOST after 1 interruptions", "lost", row("interruptions = 1")
    ),
    "a retry that is no new attempt": Planted(
        "I6", "RETRIED is followed by attempt 1 of iteration 1", "retried", attempt(2, "attempt = 1")
    ),
    "an iteration that is skipped": Planted(
        "I6", "CONTINUED is followed by attempt 1 of iteration 3", "continued", attempt(2, "number = 3")
    ),
    "an interruption that uses up an attempt": Planted(
        "I6", "INTERRUPTED is followed by attempt 2", "interrupted", attempt(2, "attempt = 2")
    ),
    "a lost lease that uses up an attempt": Planted(
        "I6", "LOST is followed by attempt 2", "taken over", attempt(2, "attempt = 2")
    ),
    "an attempt after the last one": Planted(
        "I6", "SUCCEEDED is followed by", "retried", attempt(2, "outcome = 'SUCCEEDED'")
    ),
    "an input that is not the one of the trigger": Planted(
        "I7", "is not what was triggered", "aborted before its start", row("input = '{}'")
    ),
    "a key that is not the one of the trigger": Planted(
        "I7", "is not what was triggered", "succeeded", row("idempotency_key = 'other'")
    ),
    "a second run of a key that nobody was told of": Planted("I7", "has key expired", "expired", SAME_RUN_AGAIN),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
async def test_what_is_planted_is_named_by_its_invariant_and_by_no_other(recorded: Recorded, planted: Planted) -> None:
    found = check(await after(recorded, planted), recorded.told, MAX_INTERRUPTIONS)
    assert {violation.invariant for violation in found} == {planted.invariant}, found
    assert any(planted.words in violation.what for violation in found), found


async def after(recorded: Recorded, planted: Planted) -> dict[UUID, RunHistory]:
    """What is read of the runs in a transaction that plants something, and is then forgotten."""
    connection = await history.connect(recorded.url)
    try:
        await connection.execute("BEGIN; " + planted.sql.replace(":run", f"'{recorded.ids[planted.kind]}'"))
        return await history.read(connection)
    finally:
        await connection.close()


async def test_that_failures_are_put_into_groups_after_their_end_is_no_change(recorded: Recorded) -> None:
    grouped = Planted("none", "", "failed", "UPDATE task_runs SET error_group = 'some' WHERE id = :run")
    assert check(await after(recorded, grouped), recorded.told, MAX_INTERRUPTIONS) == []


def forget(recorded: Recorded) -> None:
    del recorded.runs[recorded.ids["succeeded"]]


def give_another(recorded: Recorded) -> None:
    recorded.told.runs["succeeded"].append(recorded.ids["chatty"])


def acknowledge_an_abort(recorded: Recorded) -> None:
    recorded.told.aborted.add(recorded.ids["succeeded"])


@pytest.mark.parametrize(
    ("plant", "invariant", "words"),
    [
        (forget, "I1", "acknowledged, but not there"),
        (give_another, "I7", "key succeeded was given 2 runs"),
        (acknowledge_an_abort, "I5", "its acknowledged abort is not recorded"),
    ],
)
def test_what_clients_were_told_and_is_not_so_is_named(
    recorded: Recorded, plant: Callable[[Recorded], None], invariant: str, words: str
) -> None:
    recorded = deepcopy(recorded)
    plant(recorded)
    found = check(recorded.runs, recorded.told, MAX_INTERRUPTIONS)
    assert {violation.invariant for violation in found} == {invariant}, found
    assert any(words in violation.what for violation in found), found


@pytest.mark.parametrize(("old", "new"), list(product(Status, Status)), ids=lambda status: status.value)
def test_the_moves_of_the_state_machine_are_allowed_and_no_others(recorded: Recorded, old: Status, new: Status) -> None:
    run = deepcopy(recorded.runs[recorded.ids["expired"]])
    run.changes[0]["status"], run.changes[1]["status"] = old.value, new.value
    run.changes[1]["claim_no"] = int((old, new) == (Status.QUEUED, Status.RUNNING))
    found = check({run.row["id"]: run}, Told(), MAX_INTERRUPTIONS)
    assert (found == []) == ((old, new) in ALLOWED), found
    assert {violation.invariant for violation in found} <= {named(old)}


def landings(old: Status) -> set[Status]:
    """Where moves lead from a status, and a held run stays where it is when its worker writes."""
    found = {old} & HELD
    for name, interruptions in product(MOVES.keys() - {"fail_with_child"}, (0, 1)):
        if old in MOVES[name].sources:
            found.add(MOVES[name].land(old, interruptions=interruptions, max_interruptions=1).status)
    return found


ALLOWED = {(old, new) for old in Status for new in landings(old)}
"""By ``app.states``, without what no chaos task does: to fail with a child."""


def named(old: Status) -> str:
    return "I3" if old in FINAL else "I5" if old is Status.ABORTING else "I2"


@pytest.mark.parametrize("fencing", [True, False], ids=["with fencing", "without fencing"])
async def test_a_late_write_is_found_where_nothing_keeps_it_out(
    fresh_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, fencing: bool
) -> None:
    for name in ("SAVE", "SETTLE"):
        # Set to what it is, so that it is put back in the end.
        monkeypatch.setattr(lease_statements, name, getattr(lease_statements, name))
    if not fencing:
        drop_fencing()
    settings = await recording(fresh_database_url, redis_url)
    async with TaskService.connect(settings=settings) as tasks, by_hand(settings) as late, by_hand(settings) as holder:
        run_id = (await tasks.trigger("chaos-chatter", input={"steps": 2})).id
        await be_forgotten(late, run_id, claims=1)
        await holder.beat("nowhere", 1, 10, 0, draining=False)
        assert await holder.claim_rung([f"{run_id}:1"])
        await late.record([Write(run_id, 1, 0, state='{"at": 1, "claim": 1}')])
        end = states.succeed('{"at": 2, "claim": 2}')
        await holder.record([Write(run_id, 2, 0, state='{"at": 2, "claim": 2}', move=end)])
    found = check(await history.load(settings.database_url), Told(), settings.max_interruptions)
    assert [what.invariant for what in found] == ([] if fencing else ["I2"]), found
    assert fencing or found[0].what.startswith("state comes from claim 1")
