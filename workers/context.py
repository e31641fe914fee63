"""``TaskContext``: what task code sees of its run and does with it.

The same context serves ``async def`` and plain ``def`` tasks. In a plain one, which runs in a thread, the methods that
are awaited elsewhere block instead and return their result, so that ``await`` is simply left out.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from app.auth import Principal, PrincipalKind
from app.errors import ParentAborted
from app.models import TaskRun
from app.registry import Continue
from app.service.repeating import outlast
from app.service.requests import UNSET, TriggerRequest
from app.settings import Settings
from app.states import UNSUCCESSFUL, FailurePolicy
from workers import json_values, processes
from workers.held import PORTION_BYTES, HeldRun, Stop, StopReason
from workers.log_lines import LogLines, TaskLogger

if TYPE_CHECKING:
    from app.service import TaskService
    from workers.clockwork import Clockwork
    from workers.processes import Leashes
    from workers.recorder import Recorder
    from workers.threads import Bridge

OUTPUT_BYTES = 1024 * 1024
AGAIN_SECONDS = 0.5
"""How long a run waits before it asks a database again that is away or in trouble."""
LONGEST_DELAY = 366 * 86400.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. ``percent`` (0 to 100) follows from ``current`` and ``total`` where it is not given."""

    current: float | None = None
    total: float | None = None
    message: str | None = None
    percent: float | None = None

    def __post_init__(self) -> None:
        for name in ("current", "total", "percent"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Real):
                raise TypeError(f"{name} of the progress is {value!r}, but must be a number, an int or a float")

    def share(self) -> float | None:
        """The percentage, bounded to 0 to 100, or None when it is not known."""
        percent = self.percent
        if percent is None and self.total and self.current is not None:
            percent = 100.0 * self.current / self.total
        return None if percent is None else min(100.0, max(0.0, percent))


class TaskContext:
    """One attempt at one iteration of a run, as its code sees it."""

    def __init__(
        self,
        held: HeldRun,
        recorder: Recorder,
        service: TaskService,
        settings: Settings,
        bridge: Bridge,
        clockwork: Clockwork,
        leashes: Leashes,
    ) -> None:
        self._held = held
        self._recorder = recorder
        self._service = service
        self._settings = settings
        self._bridge = bridge
        self._clockwork = clockwork
        self._leashes = leashes
        self._deadline = clockwork.deadline(held.row["timeout_seconds"])
        self._lines = LogLines(held, recorder, settings, bridge, clockwork)
        self.log = TaskLogger(self._lines)
        self.state: Any = orjson.loads(held.row["state"]) if held.row["state"] is not None else None

    # Which run this is.

    @property
    def run_id(self) -> UUID:
        """The run's id."""
        return self._held.run_id

    @property
    def definition_id(self) -> str:
        """The id of the run's definition."""
        return self._held.row["definition_id"]

    @property
    def name(self) -> str:
        """The run's name."""
        return self._held.row["name"]

    @property
    def tags(self) -> tuple[str, ...]:
        """The run's tags."""
        return tuple(self._held.row["tags"])

    @property
    def parent_id(self) -> UUID | None:
        """The run that triggered this one, if one did."""
        return self._held.row["parent_id"]

    @property
    def iteration(self) -> int:
        """The number of the current iteration, from 1."""
        return self._held.iteration

    @property
    def max_iterations(self) -> int:
        """How many iterations the run may have."""
        return self._held.row["max_iterations"]

    @property
    def attempt(self) -> int:
        """The number of the current try at this iteration, from 1."""
        return self._held.attempt

    @property
    def max_attempts(self) -> int:
        """How many tries each iteration may have."""
        return self._held.row["max_attempts"]

    @property
    def tasks(self) -> TaskService:
        """The worker's own service, for ``async def`` tasks; what is triggered with it has no parent."""
        return self._service

    def now(self) -> datetime:
        """The current time by the database's clock, which all workers share."""
        return self._clockwork.now()

    # Time and aborts.

    @property
    def is_aborted(self) -> bool:
        """Whether an abort was asked; the next checkpoint stops the run."""
        return self._held.abort_asked

    def is_close_to_timeout(self, margin: timedelta | float) -> bool:
        """Whether less than ``margin`` (seconds, or a timedelta) is left until the timeout: time to continue later."""
        seconds = margin.total_seconds() if isinstance(margin, timedelta) else margin
        return self._deadline is not None and self._clockwork.monotonic() >= self._deadline - seconds

    def checkpoint(
        self, *, state: Any = UNSET, progress: Progress | tuple[Any, ...] | None = None
    ) -> Coroutine[Any, Any, None]:
        """Save state and progress durably; here an abort, a lost lease or a shutdown takes effect.

        Args:
            state: what a later attempt finds in ``ctx.state``: any JSON value, up to TASKLOOM_MAX_STATE_BYTES.
            progress: a ``Progress``, or a tuple ``(current, total)`` or ``(current, total, message)``.

        Raises ``Stop`` where the run has to stop, and ``NotStorable`` when the state cannot be stored. Without
        arguments nothing is written, and the call costs next to nothing.
        """
        return self._bridge.run(self._checkpoint(state, progress))

    async def _checkpoint(self, state: Any, progress: Progress | tuple[Any, ...] | None) -> None:
        saves = state is not UNSET or progress is not None
        if saves:
            self._keep(state, progress)
        # What was kept goes out with the settlement where the run stops here, so that the next one goes on from it.
        self.raise_if_stopped()
        self._lines.raise_if_over()
        if saves or self._held.waiting_bytes > PORTION_BYTES:
            await self._write()
        else:
            await self._clockwork.breathe()
        self.raise_if_stopped()

    def _keep(self, state: Any, progress: Progress | tuple[Any, ...] | None) -> None:
        """Put state and progress into the run's next write."""
        if self._held.is_closed:
            raise Stop(StopReason.LOST)
        self._lines.collect()
        text = None
        if state is not UNSET:
            text = json_values.encode(state, "state", self._settings.max_state_bytes)
            self.state = state
        self._held.save(text, self._progress_text(progress) if progress is not None else None)

    async def _write(self) -> None:
        # Shielded: the run may be cancelled here, and others wait for the same flush, the settlement among them.
        recorded = await asyncio.shield(self._recorder.submit(self._held))
        if not recorded.accepted:
            raise Stop(StopReason.LOST)

    def _progress_text(self, progress: Progress | tuple[Any, ...]) -> str:
        known = progress if isinstance(progress, Progress) else Progress(*progress)
        value = {
            "current": known.current,
            "total": known.total,
            "percent": known.share(),
            "message": None if known.message is None else json_values.plain(str(known.message), 1000),
            "updated_at": self.now().astimezone(UTC).isoformat(),
        }
        return json_values.encode(value, "progress", 4096)

    def raise_if_stopped(self) -> None:
        """Raise ``Stop`` when the run has to stop; what a checkpoint does, without a moment for anybody else."""
        if self._held.is_closed:
            raise Stop(self._held.stop or StopReason.LOST)
        if self._held.stop is not None:
            raise Stop(self._held.stop)

    # Going on later.

    def continue_(self, state: Any = None, *, delay: timedelta | float = 0.0) -> Continue:
        """Return this to end the iteration and go on later, from ``state``, on any worker.

        ``delay`` is in seconds, or a timedelta. Without a state the saved one stays as it is.
        """
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
        if not 0 <= seconds <= LONGEST_DELAY:
            raise ValueError(f"delay is {seconds} seconds, but must be between 0 and 366 days")
        return Continue(state, seconds)

    def wait_for(
        self,
        children: Iterable[TaskRun | UUID],
        *,
        state: Any = None,
        failure_policy: FailurePolicy = FailurePolicy.CONTINUE,
    ) -> Continue:
        """Return this to go on, in the next iteration, when all these runs are final; meanwhile no slot is held.

        Args:
            children: the runs, or their ids; without any, the next iteration starts at once.
            state: what the next iteration finds in ``ctx.state``. Without one the saved state stays as it is.
            failure_policy: what to do when one of them ends FAILED, ABORTED, LOST or EXPIRED. ``CONTINUE``: go on when
                all are final, and look at ``ctx.children()``. ``IGNORE``: the same, but in that next iteration
                ``ctx.children()`` leaves those out. ``FAIL_PARENT``: this run is FAILED as soon as the first of them
                is, with an error that names it, and all of its children that are still live are aborted, with theirs.
                No code of this run is called for that: no hook, and no retry.
        """
        ids = tuple(map(_id_of, children))
        if self.run_id in ids:
            raise ValueError("a run cannot wait for itself; give wait_for() the runs that ctx.trigger() returned")
        if failure_policy not in list(FailurePolicy):
            raise ValueError(f"failure_policy is {failure_policy!r}, but must be one of {', '.join(FailurePolicy)}")
        return Continue(state, 0.0, ids, FailurePolicy(failure_policy))

    # Children.

    def trigger(self, definition_id: str, *, input: Any = None, **options: Any) -> Coroutine[Any, Any, TaskRun]:
        """Trigger a run whose parent is this one; private definitions too. ``options`` are those of
        ``TaskService.trigger``; give an ``idempotency_key`` where a second attempt must not trigger a second child.

        Raises ``Stop`` where the run has to stop, as a checkpoint does, and what ``TaskService.trigger`` raises, except
        that it waits for a database that is away.
        """
        return self._bridge.run(self._trigger(definition_id, input, options))

    async def _trigger(self, definition_id: str, input: Any, options: dict[str, Any]) -> TaskRun:
        self.raise_if_stopped()
        request = TriggerRequest(definition_id=definition_id, input=input, parent_id=self.run_id, **options)
        principal = Principal(PrincipalKind.RUN, str(self.run_id))
        try:
            return (await self._service.submit(request, principal=principal, pause=self._leave_in_peace)).run
        except ParentAborted:
            # The abort was faster than its message: it takes effect here, as at a checkpoint.
            self._held.ask_abort(forced=False)
            self.raise_if_stopped()
            raise

    def children(self) -> Coroutine[Any, Any, list[TaskRun]]:
        """The runs that this one triggered, oldest first, with their status and output.

        Those that did not succeed are left out in the iteration after a ``wait_for`` with ``FailurePolicy.IGNORE``.
        """
        return self._bridge.run(self._children())

    async def _children(self) -> list[TaskRun]:
        children = await outlast(partial(self._service.children, self.run_id), self._leave_in_peace)
        if self._held.row["failure_policy"] != FailurePolicy.IGNORE:
            return children
        return [child for child in children if child.status not in UNSUCCESSFUL]

    async def _leave_in_peace(self) -> None:
        """Wait for a moment for a database that is away, as at a checkpoint."""
        await asyncio.sleep(AGAIN_SECONDS)
        self.raise_if_stopped()

    # Processes.

    def run_process(
        self,
        *command: str,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        input: bytes | None = None,
        check: bool = True,
        limit: int = OUTPUT_BYTES,
    ) -> Coroutine[Any, Any, subprocess.CompletedProcess[bytes]]:
        """Run a program to its end. It is dead before the run is settled, also when the worker is killed or frozen.

        Args:
            command: the program and its arguments; no shell.
            cwd, env: its working directory and its environment; the worker's own by default.
            input: what it reads from standard input.
            check: raise ``CalledProcessError`` when its exit code is not 0.
            limit: of standard output and of standard error, the last so many bytes are kept.

        While it runs, an abort takes effect: it gets SIGTERM, two seconds later SIGKILL, and so does all that it
        started, unless that made a session of its own. When the worker's lease is over it is killed at once.
        """
        self.raise_if_stopped()
        return self._bridge.run(
            processes.run(
                self._held, self._leashes, command, cwd=cwd, env=env, input=input, check=check, limit=limit
            )
        )  # fmt: skip


def _id_of(child: TaskRun | UUID) -> UUID:
    if isinstance(child, UUID):
        return child
    if isinstance(child, TaskRun):  # pyright: ignore[reportUnnecessaryIsInstance]
        return child.id
    raise TypeError(f"wait_for() takes a list of runs or of their ids as UUIDs, but was given {child!r:.100}")
