"""``rehearse``: execute a task definition without servers, for the tests of whoever wrote it.

What calls the code is what calls it in a worker: the same context, retries, hooks, timeouts and checks of what is
stored. Only what a worker would write into PostgreSQL is kept in memory instead, and nobody waits for a delay.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import orjson

from app import clock, states
from app.database_clock import DatabaseClock
from app.db import Row
from app.ids import new_id
from app.leases import Recorded, Write
from app.models import TaskRun
from app.registry import Definition, registry
from app.service.inputs import encode
from app.service.requests import Triggered, TriggerRequest
from app.settings import get_settings
from app.states import FINAL, UNSUCCESSFUL, FailurePolicy, Move, RunError, TaskRunStatus, TaskRunStatusReason
from workers import capture
from workers.clockwork import Clockwork
from workers.recorder import Recorder
from workers.runner import Runner

A_DAY = 86400.0
"""For how long a rehearsed run has its lease, and with it a program that it starts: longer than any test."""


@dataclass(frozen=True, slots=True)
class RehearsedLine:
    """A line of a rehearsed run's log."""

    level: str
    message: str
    data: dict[str, Any]


@dataclass(slots=True)
class Rehearsal:
    """How a rehearsed run ended, and what it wrote."""

    definition_id: str
    run_id: UUID = field(default_factory=new_id)
    status: TaskRunStatus = TaskRunStatus.QUEUED
    reason: TaskRunStatusReason | None = None
    output: Any = None
    """What it returned, as JSON has it."""
    error: RunError | None = None
    state: Any = None
    """What it saved last."""
    progress: dict[str, Any] | None = None
    """What it said last: ``current``, ``total``, ``percent`` and ``message``."""
    iteration: int = 1
    attempt: int = 1
    delays: list[float] = field(default_factory=list[float])
    """The seconds that it would have slept before each further attempt or iteration."""
    log: list[RehearsedLine] = field(default_factory=list[RehearsedLine])
    children: list[Rehearsal] = field(default_factory=list["Rehearsal"])
    """The runs that it triggered, each of them rehearsed."""


async def rehearse(
    task: Callable[..., Any] | str, input: Any = None, *, state: Any = None, abort_after: int | None = None
) -> Rehearsal:
    """Execute a definition to its end: all its attempts and iterations, and those of the runs that it triggers.

    Args:
        task: the function below ``@task``, or the id of its definition.
        input: a model or plain JSON, checked as a trigger checks it.
        state: what it finds in ``ctx.state``, as if an earlier run had saved it.
        abort_after: an abort is asked when the run has saved so often.

    Raises ``InvalidTaskInput``. What goes wrong in the code is the ``error`` of the answer. Without servers there are
    no limits, unique keys, queues and times to live; ``before_trigger`` is not called, a child is executed at once, and
    ``ctx.tasks`` knows ``trigger`` and ``children`` alone.

    Example:
        run = await rehearse(sales_report, {"days": 3})
        assert (run.status, run.output) == ("SUCCEEDED", {"rows": 72})
    """
    stage = _Stage(_definition(task), input, state, abort_after)
    with _captured():
        await stage.play()
    return stage.run


def _definition(task: Callable[..., Any] | str) -> Definition:
    for definition in registry:
        if task in (definition.id, definition.function):
            return definition
    raise LookupError(f"No definition is loaded for {task!r}: import its module, and give the function or the id.")


@contextmanager
def _captured() -> Generator[None]:
    """Meanwhile the standard library's ``logging`` lands in the runs' logs."""
    root = logging.getLogger()
    level, before = root.level, list(root.handlers)
    handler = capture.install()
    try:
        yield
    finally:
        root.setLevel(level)
        if handler not in before:
            root.removeHandler(handler)


class _Stage:
    """Stands in for what a worker has around one run: the database, and the service for its children."""

    def __init__(self, definition: Definition, input: Any, state: Any, abort_after: int | None = None) -> None:
        self.run = Rehearsal(definition.id, state=state)
        self._definition = definition
        self._input = encode(input).decode()
        self._saves_left = math.inf if abort_after is None else abort_after
        self._policy: FailurePolicy | None = None
        self._children: dict[str, _Stage] = {}
        self._move: Move | None = None
        definition.parse_input(self._input)

    async def play(self) -> None:
        """Execute attempt after attempt until the run is final."""
        while self.run.status not in FINAL:
            self._move = None
            runner = Runner(registry, Recorder(cast(Any, self)), self, get_settings(), Clockwork(DatabaseClock(_ask)))
            for lease in (runner.term, runner.leashes):
                lease.renew(time.monotonic() + A_DAY)
            await runner.start(self._claimed())
            if self._move is None:
                raise RuntimeError("The run could not be settled; the log of 'taskloom.runner' says why.")
            self._land(self._move)

    def _claimed(self) -> Row:
        """What a claim would bring."""
        run, definition = self.run, self._definition
        return {
            "id": run.run_id,
            "claim_no": 1,
            "write_no": 0,
            "log_count": len(run.log),
            "definition_id": definition.id,
            "name": definition.title,
            "tags": (),
            "parent_id": None,
            "input": self._input,
            "state": None if run.state is None else orjson.dumps(run.state).decode(),
            "iteration": run.iteration,
            "max_iterations": definition.max_iterations,
            "attempt": run.attempt,
            "max_attempts": definition.retry.max_attempts,
            "timeout_seconds": definition.timeout,
            "retry": None,
            "failure_policy": self._policy,
        }

    def _land(self, move: Move) -> None:
        """The run as it stands after an attempt."""
        run, landing = self.run, move.land(self._status)
        run.status, run.reason, run.error = landing.status, landing.reason, move.error
        run.output = None if move.output is None else orjson.loads(move.output)
        if run.status in FINAL:
            return
        run.delays.append(move.delay)
        if move.next_iteration:
            run.iteration, run.attempt, self._policy = run.iteration + 1, 1, move.failure_policy
        else:
            run.attempt += 1
        failed = [child for child in run.children if child.run_id in move.wait_for and child.status in UNSUCCESSFUL]
        if failed and move.failure_policy is FailurePolicy.FAIL_PARENT:
            words = f"A run of '{failed[0].definition_id}' was waited for with FAIL_PARENT and ended {failed[0].status}"
            landing = states.fail_with_child(error := RunError("ChildFailed", words)).landing
            run.status, run.reason, run.error = landing.status, landing.reason, error

    @property
    def _status(self) -> TaskRunStatus:
        return TaskRunStatus.RUNNING if self._saves_left > 0 else TaskRunStatus.ABORTING

    # In place of the database.

    async def record(self, writes: Sequence[Write]) -> list[Recorded]:
        """Take over what the run writes."""
        for write in writes:
            self._take(write)
        return [Recorded(accepted=True, status=self._status)] * len(writes)

    def _take(self, write: Write) -> None:
        run = self.run
        run.log += [RehearsedLine(row[4], row[5], orjson.loads(row[6] or "{}")) for row in write.logs]
        if write.state is not None:
            run.state = orjson.loads(write.state)
        if write.progress is not None:
            run.progress = orjson.loads(write.progress)
        if write.move is not None:
            self._move = write.move
        elif write.state is not None or write.progress is not None:
            self._saves_left -= 1

    # In place of the service.

    async def submit(self, request: TriggerRequest, **_: Any) -> Triggered:
        """Rehearse a child; the same idempotency key gives the same one."""
        name = f"{request.definition_id} {request.idempotency_key or new_id()}"
        if name in self._children:
            return Triggered(self._children[name], deduplicated=True)
        child = self._children[name] = _Stage(_definition(request.definition_id), request.input, None)
        await child.play()
        self.run.children.append(child.run)
        return Triggered(child, deduplicated=False)

    async def trigger(self, definition_id: str, *, input: Any = None, **options: Any) -> TaskRun:
        """Rehearse a child, and give it alone."""
        return (await self.submit(TriggerRequest(definition_id=definition_id, input=input, **options))).run

    async def children(self, run_id: UUID) -> list[TaskRun]:
        """The runs that this one triggered."""
        return [child.row() for child in self._children.values()]

    def row(self) -> TaskRun:
        """The run as its parent sees it."""
        run, error, definition, now = self.run, self.run.error, self._definition, clock.now()
        return TaskRun(
            id=run.run_id,
            definition_id=run.definition_id,
            name=definition.title,
            queue=definition.queue,
            status=run.status,
            status_reason=run.reason,
            status_changed_at=now,
            created_at=now,
            start_at=now,
            created_by="RUN:rehearsed",
            iteration=run.iteration,
            max_iterations=definition.max_iterations,
            attempt=run.attempt,
            max_attempts=definition.retry.max_attempts,
            input=orjson.loads(self._input),
            output=run.output,
            error=None if error is None else {"type": error.type, "message": error.message},
        )


async def _ask() -> tuple[datetime, datetime]:
    return clock.now(), clock.now()
