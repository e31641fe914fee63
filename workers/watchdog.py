"""Notices from another thread that the event loop is stuck, and says which run blocks it, and at which line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from workers.held import HeldRun
    from workers.runner import Runner

logger = logging.getLogger("taskloom.watchdog")

LOOK_SECONDS = 1.0
TOLERATED_LOOKS = 5
PUT_OFF_LOOKS = 2
"""After every so many looks in vain deadlines are put off: before a reaper may act, which is 5 s after a deadline."""
LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class Watchdog:
    """Asks the event loop once a second for a sign of life; ``begin`` on the loop, the rest in another thread.

    Time is counted in looks that were not answered: a process that was frozen as a whole is not taken for a stuck one.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._asked = False
        self._looks = 0
        self._tell_of_turn: Callable[[], object] | None = None

    @property
    def stuck_seconds(self) -> float:
        """For how long the event loop has given no sign of life."""
        return self._looks * LOOK_SECONDS

    def begin(self) -> None:
        """Watch the loop and the thread that this is called on."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    async def look(self) -> None:
        """Ask for a sign of life, or note that there was none, and say so once it is missing for too long."""
        if self._loop is None:
            return
        if self._asked:
            self._looks += 1
            self._runner.lost_seconds += LOOK_SECONDS
            if self._looks == TOLERATED_LOOKS:
                self._tell()
            if self._looks % PUT_OFF_LOOKS == 0:
                self._runner.owed.owe(self._waiting(), PUT_OFF_LOOKS * LOOK_SECONDS)
            return
        self._asked = True
        self._call(self._live)

    def _waiting(self) -> dict[UUID, int]:
        """The claims, with a timeout, that have to wait for the one that blocks, which is told apart from now on."""
        if blocking := self._blocking():
            blocking.has_blocked = True
        timed = self._runner.timed
        if blocking:
            timed.pop(blocking.run_id, None)
        return timed

    async def until_it_turns(self, seconds: float) -> None:
        """Return as soon as the event loop gives a sign of life again, or after so many seconds; beside ``look``."""
        turned, loop = asyncio.Event(), asyncio.get_running_loop()
        self._tell_of_turn = lambda: loop.call_soon_threadsafe(turned.set)
        # It may have turned before it could know whom to tell.
        if self._looks:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(turned.wait(), seconds)
        self._tell_of_turn = None

    def _live(self) -> None:
        if self._looks >= TOLERATED_LOOKS:
            logger.warning("The event loop turns again, after %.0f s.", self.stuck_seconds)
        self._asked, self._looks = False, 0
        if tell := self._tell_of_turn:
            with contextlib.suppress(RuntimeError):  # The loop of the one who waits is closed: the worker ends.
                tell()

    def _tell(self) -> None:
        blocking, where = self._blocking(), where_is(sys._current_frames().get(self._thread))  # pyright: ignore[reportPrivateUsage]
        logger.warning(
            "The event loop has been blocked for %.0f s by %s, at %s. The other runs of this worker have to wait.",
            self.stuck_seconds, f"run {blocking.run_id}" if blocking else "something that is no run's own task", where,
        )  # fmt: skip
        if blocking:
            self._call(self._runner.warn, blocking.run_id, _advice(self.stuck_seconds, where))

    def _blocking(self) -> HeldRun | None:
        """The run whose own task is executed at this moment."""
        task = asyncio.current_task(self._loop)
        return next((held for held in tuple(self._runner.running.values()) if held.task is task), None)

    def _call(self, function: Callable[..., None], *args: object) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # The loop is closed: the worker ends.
            self._loop.call_soon_threadsafe(function, *args)


def where_is(frame: FrameType | None) -> str:
    """The innermost line of somebody's own code in a stack, and the line of a library that it waits in."""
    if frame is None:
        return "an unknown line"
    stack = traceback.extract_stack(frame)
    own = [step for step in stack if not step.filename.startswith((*LIBRARIES, "<"))] or stack
    told = [own[-1]] if own[-1] is stack[-1] else [own[-1], stack[-1]]
    return ", in ".join(f"{step.filename}:{step.lineno} ({step.name})" for step in told)


def _advice(seconds: float, where: str) -> str:
    return (
        f"This code blocked its worker's event loop for more than {seconds:.0f} s, at {where}. All other runs of the "
        "worker had to wait. Make the task a plain def, which runs in a thread, or call what blocks by "
        "asyncio.to_thread."
    )
