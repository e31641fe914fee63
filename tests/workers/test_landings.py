"""``Move.land`` and the SQL that follows it, compared for every move, source status and number of interruptions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import pytest

from app import states
from app.errors import TaskRunNotAbortable
from app.leases import Write
from app.settings import Settings
from app.states import FINAL, HELD, Move, Reason, Status
from tests.workers.model import MAX_INTERRUPTIONS
from tests.workers.test_state_machine import BROKEN, LONG, Bench, bench

Apply = Callable[[Bench, UUID, Move], Awaitable[None]]
ENDING = "UPDATE task_runs SET abort_requested_at = now() - interval '1 hour' WHERE id = $1"


@pytest.fixture
async def both(settings: Settings) -> AsyncIterator[Bench]:
    async with bench(settings) as make:
        both = make()
        await both.start()
        yield both


async def written(both: Bench, run_id: UUID, move: Move) -> None:
    await both.workers[0][1].record([Write(run_id, 1, 0, move=move)])


async def lease_lost(both: Bench, run_id: UUID, move: Move) -> None:
    await both.connection.execute("UPDATE workers SET lease_expires_at = now() WHERE id = $1", both.workers[0][0].owner)
    await both.workers[1][1].reap()
    await both.workers[0][1].beat("host", 1, 10, 0, draining=False)


async def overrun(both: Bench, run_id: UUID, move: Move) -> None:
    attempts = 1 if move.next_attempt else 2
    query = "UPDATE task_runs SET deadline_at = now() - interval '1 hour', attempt = $2 WHERE id = $1"
    await both.connection.execute(query, run_id, attempts)
    await both.workers[1][1].reap()


async def grace_over(both: Bench, run_id: UUID, move: Move) -> None:
    await both.connection.execute(ENDING, run_id)
    await both.workers[1][1].reap()


async def fallen_due(both: Bench, run_id: UUID, move: Move) -> None:
    await both.connection.execute("UPDATE task_runs SET due_at = now() WHERE id = $1", run_id)
    await both.workers[0][1].dispatch()


async def child_failed(both: Bench, run_id: UUID, move: Move) -> None:
    child = await both.tasks.trigger("modelled")
    await both.tasks.abort(child.id)
    query = "UPDATE task_runs SET due_at = NULL, wait_for = $2, failure_policy = 'FAIL_PARENT' WHERE id = $1"
    await both.connection.execute(query, run_id, [child.id])
    await both.workers[0][1].dispatch()


async def ttl_over(both: Bench, run_id: UUID, move: Move) -> None:
    await both.connection.execute("UPDATE task_runs SET expires_at = now() WHERE id = $1", run_id)
    await both.workers[0][1].dispatch()


async def claimed(both: Bench, run_id: UUID, move: Move) -> None:
    await both.workers[0][1].claim_rung([f"{run_id}:1"])


async def abort_asked(both: Bench, run_id: UUID, move: Move) -> None:
    with suppress(TaskRunNotAbortable):
        await both.tasks.abort(run_id)


EVERY = tuple(Status)
ENDED = tuple(status for status in Status if status not in HELD)
# How each move comes about, and the statuses in which that may be tried; what the holder alone may ask and asks only
# where it has seen the abort is not tried from RUNNING.
WAYS: dict[str, tuple[Apply, Move, tuple[Status, ...]]] = {
    "succeed": (written, states.succeed("1"), EVERY),
    "fail": (written, states.fail(BROKEN, Reason.ERROR), EVERY),
    "retry": (written, states.retry(BROKEN, 0.0), EVERY),
    "retry later": (written, states.retry(BROKEN, LONG, Reason.RETRY_LATER), EVERY),
    "continue": (written, states.continue_(0.0), EVERY),
    "continue later": (written, states.continue_(LONG), EVERY),
    "wait": (written, states.wait((uuid4(), uuid4())), EVERY),
    "interrupt": (written, states.interrupt(), EVERY),
    "acknowledge an abort": (written, states.acknowledge_abort(), (Status.ABORTING, *ENDED)),
    "be forced by its holder": (written, states.force_abort(), (Status.ABORTING, *ENDED)),
    "be forced by the reaper": (grace_over, states.force_abort(), EVERY),
    "lose its lease": (lease_lost, states.expire_lease(), EVERY),
    "overrun with attempts left": (overrun, states.retry(BROKEN, 0.0, Reason.RETRY), EVERY),
    "overrun at the last attempt": (overrun, states.fail(BROKEN, Reason.TIMEOUT), EVERY),
    "become due": (fallen_due, states.become_due(), EVERY),
    "fail with a child": (child_failed, states.fail_with_child(BROKEN), EVERY),
    "expire": (ttl_over, states.expire(), EVERY),
    "be claimed": (claimed, states.claim(), EVERY),
    "be asked to abort": (abort_asked, states.ask_abort(), (Status.RUNNING, *FINAL)),
    "abort": (abort_asked, states.abort(), (*sorted(states.UNHELD), *FINAL)),
}


@pytest.mark.parametrize("way", WAYS)
async def test_the_sql_lands_where_python_says_from_every_status(both: Bench, way: str) -> None:
    apply, move, sources = WAYS[way]
    for source in sources:
        for interruptions in range(MAX_INTERRUPTIONS + 2):
            run_id = await standing(both, source, interruptions)
            before = await look(both, run_id)
            await apply(both, run_id, move)
            assert await look(both, run_id) == landed(move, source, interruptions, before), (source, interruptions)


def landed(move: Move, source: Status, interruptions: int, before: tuple[Any, ...]) -> tuple[Any, ...]:
    """The status, reason and closing outcome that the move leads to; where it is not allowed, those of before."""
    if source not in move.sources:
        return before
    landing = move.land(source, before[1], interruptions=interruptions, max_interruptions=MAX_INTERRUPTIONS)
    return landing.status, landing.reason, landing.outcome


async def look(both: Bench, run_id: UUID) -> tuple[Any, ...]:
    query = """SELECT r.status, r.status_reason, i.outcome FROM task_runs r
        LEFT JOIN task_iterations i ON i.run_id = r.id WHERE r.id = $1"""
    return tuple(await both.connection.fetchrow(query, run_id))


async def standing(both: Bench, status: Status, interruptions: int) -> UUID:
    """A run that stands in a status as after one claim of the first worker."""
    run = await both.tasks.trigger("modelled")
    held, started = status in HELD, status not in (Status.SCHEDULED, Status.QUEUED)
    await both.connection.execute(
        """UPDATE task_runs SET status = $2, interruptions = $3, status_reason = 'SHUTDOWN', claim_no = 1,
            lease_owner = $4, worker = 'host:0', claimed_at = now(), due_at = now() + interval '1 hour',
            started_at = CASE WHEN $5 THEN now() END, finished_at = CASE WHEN $6 THEN now() END,
            abort_requested_at = CASE WHEN $7 THEN now() END WHERE id = $1""",
        run.id, status.value, interruptions, both.workers[0][0].owner if held else None, started, status in FINAL,
        status is Status.ABORTING,
    )  # fmt: skip
    return run.id
