"""Random programs of everything that can happen to runs, on PostgreSQL and on a model, compared after each step.

The same few each time, unless ``TASKLOOM_TEST_PROGRAMS`` says how many others to try.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, Phase, example, given
from hypothesis import settings as bounded
from hypothesis import strategies as st

from app import TaskService, clock, states
from app.db import Database, plain_url
from app.doorbell import Doorbell
from app.errors import ParentAborted, TaskRunNotAbortable
from app.events import Events
from app.leases import Claimant, Write
from app.lifecycle import REFUSED, TIMED_OUT, Lifecycle, Recorded
from app.models import TaskLogLevel
from app.registry import Definition, Registry
from app.retry import Retry
from app.settings import Settings
from app.states import FailurePolicy, Move, Reason, RunError, Status
from tests.workers.model import MAX_ATTEMPTS, MAX_INTERRUPTIONS, Model, ModelRun, expected, grouped, stored
from workers.held import HeldRun

MAX_RUNS = 3
"""Live at the same time."""
BROKEN = RunError("Broken", "on purpose")
LONG = 3600.0


async def never(ctx: Any) -> None:
    raise AssertionError("no run is executed here")


RETRY = Retry(max_attempts=MAX_ATTEMPTS, first_delay=0.0)
MODELLED = Definition("modelled", never, "Modelled", timeout=LONG, retry=RETRY)

SETTLEMENTS: dict[str, Callable[[tuple[UUID, ...]], Move]] = {
    "succeed": lambda others: states.succeed('"done"'),
    "fail": lambda others: states.fail(BROKEN, Reason.ERROR),
    "retry later": lambda others: states.retry(BROKEN, LONG, Reason.RETRY_LATER),
    "retry": lambda others: states.retry(BROKEN, 0.0),
    "continue later": lambda others: states.continue_(LONG),
    "continue": lambda others: states.continue_(0.0),
    "wait": states.wait,
    "wait and ignore": lambda others: states.wait(others, FailurePolicy.IGNORE),
    "wait and fail": lambda others: states.wait(others, FailurePolicy.FAIL_PARENT),
    "interrupt": lambda others: states.interrupt(),
}
ABORTIONS = {"acknowledge": states.acknowledge_abort, "force": states.force_abort}


class Bench:
    """The model and the real thing side by side. Each method is a step; ``n`` and ``m`` choose what it is done to."""

    def __init__(self, tasks: TaskService, workers: list[tuple[Claimant, Lifecycle]], connection: Any) -> None:
        self.tasks = tasks
        self.workers = workers
        self.connection = connection
        self.model = Model()
        self.held: dict[UUID, tuple[int, HeldRun]] = {}
        self.late: list[tuple[int, HeldRun]] = []
        self.written: dict[UUID, Write] = {}
        self.rows: dict[UUID, dict[str, Any]] = {}
        self.messages = 0

    @property
    def runs(self) -> list[ModelRun]:
        return list(self.model.runs.values())

    def _any(self, n: int) -> ModelRun:
        """One of the live runs, or now and then the last that became final."""
        final = [run for run in self.runs if run.is_final]
        choice = [run for run in self.runs if not run.is_final] + final[-1:]
        return choice[n % len(choice)]

    async def start(self) -> None:
        for table in ("task_runs", "task_iterations", "task_logs", "workers"):
            await self.connection.execute(f"DELETE FROM {table}")
        for _, lifecycle in self.workers:
            await lifecycle.beat("host", 1, 10, 0, draining=False)

    async def take(self, step: tuple[str, int, int]) -> None:
        """One step on both sides, and the comparison."""
        name, n, m = step
        name = self._possible(name)
        for run in self.runs:
            run.touched = False
        if name in SETTLEMENTS:
            await self.settle(SETTLEMENTS[name], n, m)
        elif name in ABORTIONS:
            await self.settle_abort(ABORTIONS[name], n, m)
        else:
            await getattr(self, name)(n, m)
        await self.compare(name)

    def _possible(self, name: str) -> str:
        """The step, or one that leads to where it could be taken, so that few steps of a program do nothing."""
        statuses = {run.status for run in self.runs}
        if name in (*ABORTIONS, "ignore_abort") and Status.ABORTING not in statuses:
            name = "abort"
        if (name in SETTLEMENTS or name in ("save", "write_twice", "overrun", "abort")) and not self.held:
            name = "claim"
        if name == "claim" and Status.QUEUED not in statuses:
            name = "fall_due" if statuses & states.ASLEEP else "trigger"
        return name

    # Clients.

    async def trigger(self, n: int, m: int) -> None:
        if sum(not run.is_final for run in self.runs) == MAX_RUNS:
            return
        above = self._any(n) if self.runs and n % 2 else None
        parent = above.id if above else None
        start_at = clock.now() + timedelta(hours=1) if m % 3 == 0 else None
        if above and above.status in states.BARREN:
            with pytest.raises(ParentAborted):
                await self.tasks.trigger("modelled", parent=parent, start_at=start_at)
            return
        run = await self.tasks.trigger("modelled", parent=parent, start_at=start_at)
        self.model.runs[run.id] = ModelRun(run.id, Status.SCHEDULED if start_at else Status.QUEUED, parent)

    async def abort(self, n: int, m: int) -> None:
        if not self.runs:
            return
        run, force = self._any(n), m % 2 == 0
        if run.is_final:
            with pytest.raises(TaskRunNotAbortable):
                await self.tasks.abort(run.id, force=force)
            return
        await self.tasks.abort(run.id, force=force)
        self.model.abort(self.model.family(run.id), force=force)

    # Claims.

    async def claim(self, n: int, m: int) -> None:
        """Both workers, or one, hear the same ring."""
        if not self.runs:
            return
        queued = [run for run in self.runs if run.status is Status.QUEUED]
        run = queued[n % len(queued)] if queued and m % 4 else self._any(n)
        rivals = self.workers if m % 3 == 0 else [self.workers[m % 2]]
        ring = [f"{run.id}:{run.claim_no}"]
        claims = await asyncio.gather(*(lifecycle.claim_rung(ring) for _, lifecycle in rivals))
        taken = [(claimant, row) for (claimant, _), rows in zip(rivals, claims, strict=True) for row in rows]
        assert len(taken) == (run.status is Status.QUEUED)
        for claimant, row in taken:
            self._hold(claimant, row)

    async def claim_by_an_old_ring(self, n: int, m: int) -> None:
        if self.runs:
            run = self._any(n)
            assert await self.workers[m % 2][1].claim_rung([f"{run.id}:{run.claim_no - 1}"]) == []

    async def claim_next(self, n: int, m: int) -> None:
        claimant, lifecycle = self.workers[m % 2]
        queued = [row for row in self.rows.values() if row["status"] == "QUEUED"]
        queued.sort(key=lambda row: (row["due_at"], row["id"]))
        limit = n % 2 + 1
        rows = await lifecycle.claim_next(limit)
        assert {row["id"] for row in rows} == {row["id"] for row in queued[:limit]}
        for row in rows:
            self._hold(claimant, row)

    def _hold(self, claimant: Claimant, row: Any) -> None:
        run = self.model.runs[row["id"]]
        run.be_claimed(claimant.owner)
        assert (row["iteration"], row["attempt"], row["log_count"]) == (run.iteration, run.attempt, len(run.lines))
        worker = next(n for n, (other, _) in enumerate(self.workers) if other is claimant)
        self.held[run.id] = (worker, HeldRun(row))
        self.written.pop(run.id, None)

    def _let_go(self, run: ModelRun) -> None:
        self.late.append(self.held.pop(run.id))

    # The holder's writes.

    def _any_held(self, n: int) -> ModelRun | None:
        held = list(self.held)
        return self.model.runs[held[n % len(held)]] if held else None

    def _any_aborting(self, n: int) -> ModelRun | None:
        aborting = [run for run in self.runs if run.status is Status.ABORTING]
        return aborting[n % len(aborting)] if aborting else None

    async def save(self, n: int, m: int) -> None:
        if run := self._any_held(n):
            state = {"at": self.messages} if m % 2 else None
            write = await self._write(run, m % 4, state, None)
            self.written[run.id] = write

    async def settle(self, make: Callable[[tuple[UUID, ...]], Move], n: int, m: int) -> None:
        if run := self._any_held(n):
            others = tuple(other.id for other in self.runs if other is not run) or (uuid4(),)
            await self._write(run, m % 3, None, make(others))

    async def settle_abort(self, make: Callable[[], Move], n: int, m: int) -> None:
        if run := self._any_aborting(n):
            await self._write(run, m % 2, None, make())

    async def _write(self, run: ModelRun, lines: int, state: Any, move: Move | None) -> Write:
        worker, held = self.held[run.id]
        messages = [f"line {self.messages + n}" for n in range(lines)]
        write = self._next_write(held, messages, state, move)
        [answer] = await self.workers[worker][1].record([write])
        run.be_written(messages, state)
        if move:
            run.end_attempt(move)
            self._let_go(run)
            self.model.tell_parents([run])
        assert isinstance(answer, Recorded), answer
        assert (answer.accepted, answer.status) == (True, run.status)
        held.written(write, answer)
        return write

    def _next_write(self, held: HeldRun, messages: list[str], state: Any, move: Move | None) -> Write:
        self.messages += len(messages)
        for message in messages:
            held.add_line((TaskLogLevel.INFO, message, None, clock.now()))
        held.save(None if state is None else f'{{"at": {state["at"]}}}', None)
        if move:
            held.settle(move)
        return held.take()

    async def write_late(self, n: int, m: int) -> None:
        """A holder that was overtaken, or has settled already, writes once more."""
        if self.late:
            worker, held = self.late[n % len(self.late)]
            move = [None, states.succeed('"late"'), states.interrupt(), states.continue_(0.0)][m % 4]
            write = self._next_write(held, ["late"], {"at": -1}, move)
            assert await self.workers[worker][1].record([write]) == [REFUSED]

    async def write_twice(self, n: int, m: int) -> None:
        """The holder repeats a write that was accepted already."""
        run = self._any_held(n)
        if run and run.id in self.written:
            assert await self.workers[self.held[run.id][0]][1].record([self.written[run.id]]) == [REFUSED]

    # Time and loss.

    async def fall_due(self, n: int, m: int) -> None:
        """The time of one sleeper has come, if there is one."""
        asleep = [run for run in self.runs if run.status in states.ASLEEP]
        due = asleep[n % len(asleep)] if asleep else None
        if due:
            due.touched = True
            await self._set("due_at = now() WHERE id = $1 AND due_at IS NOT NULL", due.id)
        await self.workers[m % 2][1].dispatch()
        self.model.dispatch(due.id if due else None)

    async def outlive(self, n: int, m: int) -> None:
        """The time to live of a run is over."""
        if self.runs:
            run = self._any(n)
            run.touched = True
            await self._set("expires_at = now() WHERE id = $1", run.id)
            await self.workers[m % 2][1].dispatch()
            if run.status in states.expire().sources and not run.started:
                run.stand(states.expire())
            self.model.dispatch()

    async def lose_lease(self, n: int, m: int) -> None:
        """A worker's lease is over or was never taken, and the other one finds its runs; then it is back."""
        (claimant, lifecycle), (_, other) = self.workers[m % 2], self.workers[1 - m % 2]
        gone = "DELETE FROM workers" if n % 2 else "UPDATE workers SET lease_expires_at = now()"
        await self.connection.execute(f"{gone} WHERE id = $1", claimant.owner)
        await self._reaped(other, [run for run in self.runs if run.owner == claimant.owner], states.expire_lease())
        await lifecycle.beat("host", 1, 10, 0, draining=False)

    async def overrun(self, n: int, m: int) -> None:
        """An attempt goes on long after its deadline."""
        if run := self._any_held(n):
            again = run.attempt < MAX_ATTEMPTS
            move = states.retry(TIMED_OUT, 0.0) if again else states.fail(TIMED_OUT, Reason.TIMEOUT)
            await self._set("deadline_at = now() - interval '1 hour' WHERE id = $1", run.id)
            await self._reaped(self.workers[m % 2][1], [run], move)

    async def ignore_abort(self, n: int, m: int) -> None:
        """A run does not heed an abort within its grace time."""
        if run := self._any_aborting(n):
            await self._set("abort_requested_at = now() - interval '1 hour' WHERE id = $1", run.id)
            await self._reaped(self.workers[m % 2][1], [run], states.force_abort())

    async def _reaped(self, lifecycle: Lifecycle, runs: list[ModelRun], move: Move) -> None:
        assert await lifecycle.reap() == len(runs)
        for run in runs:
            run.end_attempt(move)
            self._let_go(run)
        self.model.tell_parents(runs)

    async def _set(self, change: str, run_id: UUID) -> None:
        await self.connection.execute(f"UPDATE task_runs SET {change}", run_id)

    # The comparison.

    async def compare(self, step: str) -> None:
        rows = {row["id"]: dict(row) for row in await self.connection.fetch("SELECT * FROM task_runs")}
        lines, closed = await self._lines(), await self._closed()
        assert rows.keys() == self.model.runs.keys()
        for run in self.runs:
            assert stored(rows[run.id]) == expected(run), step
            assert lines.get(run.id, []) == run.lines, step
            assert closed.get(run.id, []) == run.closed, step
            if not run.touched:
                assert rows[run.id] == self.rows[run.id], step
        self.rows = rows

    async def _lines(self) -> dict[UUID, list[Any]]:
        query = "SELECT run_id, sequence, iteration, attempt, message FROM task_logs ORDER BY run_id, sequence"
        return grouped(await self.connection.fetch(query))

    async def _closed(self) -> dict[UUID, list[Any]]:
        query = """SELECT run_id, claim_no, number, attempt, outcome, error->>'type' AS error FROM task_iterations
            ORDER BY run_id, claim_no"""
        return grouped(await self.connection.fetch(query))


STEPS = [
    "trigger", "trigger", "claim", "claim", "claim_next", "claim_by_an_old_ring", "save", "save",
    "write_late", "write_late", "write_twice", "fall_due", "fall_due", "lose_lease", "lose_lease", "overrun",
    "abort", "abort", "ignore_abort", "outlive", *SETTLEMENTS, *ABORTIONS,
]  # fmt: skip
PROGRAMS = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 11), st.integers(0, 11)), min_size=30, max_size=50)
LEASE_LOST_TO_THE_END = [
    ("trigger", 0, 1), *[("claim", 0, 1), ("save", 0, 3), ("lose_lease", 0, 1), ("write_late", 0, 1)] * 3,
]  # fmt: skip
TWO_HOLDERS = [("trigger", 0, 1), ("claim", 0, 1), ("save", 0, 3), ("write_twice", 0, 0), ("lose_lease", 0, 1),
               ("claim", 0, 2), ("write_late", 0, 0), ("save", 0, 1), ("write_late", 0, 1), ("succeed", 0, 1),
               ("write_late", 0, 2), ("write_late", 1, 1), ("abort", 0, 0)]  # fmt: skip

# A grandparent, a parent and a child, each waiting for what is below it under FAIL_PARENT, when the last one fails.
FAILING_FAMILY = [("trigger", 0, 1), ("claim", 0, 1), ("trigger", 1, 1), ("claim", 0, 1), ("wait and fail", 0, 0),
                  ("fail", 0, 0), ("fall_due", 0, 0), ("trigger", 1, 1), ("trigger", 1, 1), ("claim", 0, 1),
                  ("claim", 0, 1), ("wait and fail", 0, 1), ("fail", 0, 1), ("fall_due", 0, 1)]  # fmt: skip
SAME_WORKER_AGAIN = [("trigger", 0, 1), ("claim", 0, 2), ("lose_lease", 0, 2), ("claim", 0, 2), ("write_late", 0, 1),
                     ("write_late", 0, 0), ("save", 0, 1), ("succeed", 0, 1)]  # fmt: skip


@asynccontextmanager
async def bench(settings: Settings) -> AsyncIterator[Callable[[], Bench]]:
    """Makes benches on the same connections, with two workers each."""
    settings = settings.model_copy(update={"max_interruptions": MAX_INTERRUPTIONS})
    registry = Registry()
    registry.add(MODELLED)
    db, doorbell, events = Database(settings.database_url), Doorbell(settings.redis_url), Events(settings.redis_url)
    connection: Any = await asyncpg.connect(plain_url(settings.database_url))
    await connection.set_type_codec("jsonb", encoder=str, decoder=orjson.loads, schema="pg_catalog")
    tasks = TaskService(db, doorbell, events, settings, registry)

    def make() -> Bench:
        ids, retries = ("modelled",), {"modelled": RETRY}
        claimants = [Claimant(uuid4(), f"host:{n}", ("default",), ids, retries=retries) for n in range(2)]
        return Bench(tasks, [(one, Lifecycle(db, doorbell, events, settings, one)) for one in claimants], connection)

    try:
        yield make
    finally:
        await connection.close()
        await tasks.finish_telling()
        await events.close()
        await doorbell.close()
        await db.close()


SHORT = [Phase.explicit, Phase.generate]
"""Without shrinking, which takes minutes on a database; a program says at which step it went wrong."""
OTHERS = int(os.environ.get("TASKLOOM_TEST_PROGRAMS", "0"))


@bounded(
    max_examples=OTHERS or 30, deadline=None, derandomize=not OTHERS, database=None, phases=SHORT,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(program=PROGRAMS)
@example(program=LEASE_LOST_TO_THE_END)
@example(program=TWO_HOLDERS)
@example(program=SAME_WORKER_AGAIN)
@example(program=FAILING_FAMILY)
async def test_whatever_happens_in_whatever_order_runs_stand_as_the_state_machine_says(
    settings: Settings, program: list[tuple[str, int, int]]
) -> None:
    async with bench(settings) as make:
        both = make()
        await both.start()
        for step in program:
            await both.take(step)
