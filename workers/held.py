"""A run as the worker that holds it sees it: what was claimed, what waits to be written, and why it has to stop."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from app.db import Row
from app.leases import LogRow, Write
from app.lifecycle import Recorded
from app.models import TaskLogLevel
from app.states import Move, TaskRunStatus

if TYPE_CHECKING:
    from app.batching import Batcher
    from workers.processes import Child

LEVELS = {TaskLogLevel.DEBUG: 0, TaskLogLevel.INFO: 1, TaskLogLevel.WARNING: 2, TaskLogLevel.ERROR: 3}
LogLine = tuple[TaskLogLevel, str, str | None, datetime]
LINE_BYTES = 256
"""What a line takes in memory beside its text, about."""
PORTION_BYTES = 1024 * 1024
"""Lines of one run in one write: with more, all other runs would wait long for the flush."""


class StopReason(StrEnum):
    """Why a run has to stop before its code has returned."""

    ABORT = "an abort was asked"
    FORCED = "an abort was asked by force, or its grace time is over"
    LOST = "another worker decided about the run"
    SHUTDOWN = "the worker shuts down"
    TIMEOUT = "the attempt ran longer than its timeout"


class Stop(BaseException):
    """Raised in task code by a checkpoint where the run has to stop.

    Not an ``Exception``, so that code which handles errors does not swallow it; clean up in ``finally``.
    """

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class HeldRun:
    """One held run. Lives on the event loop's thread; other threads come in over the context's bridge."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.run_id: UUID = row["id"]
        self.claim_no: int = row["claim_no"]
        self.iteration: int = row["iteration"]
        self.attempt: int = row["attempt"]
        self.stop: StopReason | None = None
        self.is_closed = False
        self.timeout: float | None = row["timeout_seconds"]
        self.timer: asyncio.TimerHandle | None = None
        self.grace: asyncio.TimerHandle | None = None
        self.has_blocked = False
        self.has_slot = True
        self.task: asyncio.Task[None] | None = None
        self.flush: asyncio.Future[Recorded] | None = None
        self.lane: Batcher[HeldRun, Recorded] | None = None
        self.logged_bytes = 0
        self.log_refusal: str | None = None
        self.waiting_bytes = 0
        self.children: set[Child] = set()
        self._in_code = False
        self._write_no: int = row["write_no"]
        self._log_count: int = row["log_count"]
        self._lines: list[LogLine] = []
        self._state: str | None = None
        self._progress: str | None = None
        self._move: Move | None = None

    @property
    def log_count(self) -> int:
        """How many lines the run has written, those that are still on their way included."""
        return self._log_count + len(self._lines)

    # What waits to be written.

    def add_line(self, line: LogLine) -> None:
        """Add a log line to the next write."""
        self._lines.append(line)
        self.waiting_bytes += size_of(line)

    def save(self, state: str | None, progress: str | None) -> None:
        """Put state and progress (JSON text; None leaves them) into the next write."""
        self._state = state if state is not None else self._state
        self._progress = progress if progress is not None else self._progress

    def settle(self, move: Move) -> None:
        """Put the move that ends the attempt into the next write, which is the last one."""
        self._move = move
        self.is_closed = True

    def drop_writes(self) -> None:
        """Forget what waits, because the database refuses something in it."""
        self._lines, self._state, self._progress, self.waiting_bytes = [], None, None, 0

    @property
    def is_waiting(self) -> bool:
        """Whether lines are left over that did not fit into the last write; state and move wait behind them."""
        return bool(self._lines)

    @property
    def waiting_characters(self) -> int:
        """The size of the state and the output that wait to be written."""
        output = self._move.output if self._move is not None else None
        return len(self._state or "") + len(output or "")

    def take(self) -> Write:
        """The next write. Until it is answered by ``written``, no other may be taken."""
        lines = self._portion()
        numbered, levels = self._number(lines), _count(lines)
        if self._lines:
            return Write(self.run_id, self.claim_no, self._write_no, logs=numbered, levels=levels)
        write = Write(
            self.run_id, self.claim_no, self._write_no, self._state, self._progress, self._move, numbered, levels
        )
        self._state = self._progress = None
        return write

    def _portion(self) -> list[LogLine]:
        """The lines of one write: all, unless that would be too much."""
        if self.waiting_bytes <= PORTION_BYTES:
            lines, self._lines, self.waiting_bytes = self._lines, [], 0
            return lines
        number = taken = 0
        while number < len(self._lines) and taken < PORTION_BYTES:
            taken += size_of(self._lines[number])
            number += 1
        lines, self._lines = self._lines[:number], self._lines[number:]
        self.waiting_bytes -= taken
        return lines

    def written(self, write: Write, answer: Recorded | Exception) -> None:
        """Learn what became of a write."""
        if isinstance(answer, Exception):
            return
        if not answer.accepted:
            self.cancel(StopReason.LOST)
            return
        self._write_no += 1
        self._log_count += len(write.logs)
        if answer.status is TaskRunStatus.ABORTING:
            self.ask_abort(forced=answer.abort_forced)

    def _number(self, lines: list[LogLine]) -> list[LogRow]:
        first = self._log_count + 1
        return [
            (self.run_id, first + n, self.iteration, self.attempt, level, message, data, at)
            for n, (level, message, data, at) in enumerate(lines)
        ]

    # Stopping.

    @property
    def abort_asked(self) -> bool:
        """Whether somebody asked to abort the run."""
        return self.stop in (StopReason.ABORT, StopReason.FORCED)

    def ask_abort(self, *, forced: bool) -> None:
        """Stop at the next checkpoint, or at once when forced."""
        if forced:
            self.cancel(StopReason.FORCED)
        elif self.stop in (None, StopReason.SHUTDOWN):
            self.stop = StopReason.ABORT

    def ask_release(self) -> None:
        """Give the run back at its next checkpoint, because the worker shuts down."""
        self.stop = self.stop or StopReason.SHUTDOWN

    def cancel(self, reason: StopReason) -> None:
        """Stop now, wherever the code is; once it has returned, this comes too late and does nothing."""
        if self.is_closed:
            return
        self.stop = reason
        if self._in_code and self.task is not None:
            self.task.cancel()

    def enter_code(self) -> None:
        """From here on until ``leave_code`` the task may be cancelled."""
        self._in_code = True

    async def leave_code(self) -> None:
        """Swallow a cancellation that was asked in the last moment, so that it does not hit the settlement."""
        self._in_code = False
        while self.task is not None and self.task.cancelling():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            self.task.uncancel()

    @property
    def is_torn_down(self) -> bool:
        """Whether the interpreter or the loop ends and takes the run's task apart: nothing may be awaited any more.

        A GeneratorExit or CancelledError that the code itself raised looks the same, but comes while the task is
        executed.
        """
        try:
            return asyncio.current_task() is not self.task or bool(self.task and self.task.cancelling())
        except RuntimeError:
            return True

    @property
    def has_children(self) -> bool:
        """Whether there are processes of the run that were not told to end yet. May be asked by any thread."""
        return any(child.is_held for child in tuple(self.children))

    def let_children_go(self) -> None:
        """Tell its processes to end, without waiting for it. May be called by any thread."""
        for child in tuple(self.children):
            child.let_go()

    async def end_children(self) -> None:
        """End the processes that the code started with ``run_process``; returns when they are dead."""
        for child in tuple(self.children):
            await child.end()
            self.children.discard(child)


def size_of(line: LogLine) -> int:
    """The bytes that a line takes while it waits, about."""
    return LINE_BYTES + len(line[1]) + len(line[2] or "")


def _count(lines: list[LogLine]) -> tuple[int, int, int, int]:
    counts: list[Any] = [0, 0, 0, 0]
    for line in lines:
        counts[LEVELS[line[0]]] += 1
    return (counts[0], counts[1], counts[2], counts[3])
