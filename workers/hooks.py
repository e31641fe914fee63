"""The hooks of definitions: code of theirs that hears how a run ends, before that is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from typing import Any

from workers.context import TaskContext
from workers.faults import error_of
from workers.held import HeldRun, Stop
from workers.log_lines import LogLimitExceeded
from workers.owed import Owed
from workers.threads import call_plain


class Hooks:
    """Calls hooks, each for so many seconds at the most."""

    def __init__(self, owed: Owed, seconds: float) -> None:
        self._owed = owed
        self._seconds = seconds

    async def call(
        self, held: HeldRun, context: TaskContext, name: str, hook: Callable[..., Any] | None, *args: Any
    ) -> None:
        """Call a hook of a run. What goes wrong in it is logged in the run, and changes nothing else."""
        if hook is None:
            return
        if context.is_close_to_timeout(self._seconds):
            # Past its deadline others would end the attempt, and its result were lost.
            self._owed.owe({held.run_id: held.claim_no}, self._seconds)
        try:
            async with asyncio.timeout(self._seconds):
                if inspect.iscoroutinefunction(hook):
                    await hook(context, *args)
                else:
                    await call_plain(hook, context, *args)
        except Stop:
            _log(context.log.warning, f"{name} stopped at a checkpoint, because the run has to stop.")
        except GeneratorExit:
            raise
        except BaseException as error:
            if held.is_torn_down:
                raise
            stored = error_of(error)
            _log(context.log.error, f"{name} failed: {stored.type}: {stored.message}", traceback=stored.traceback)


def _log(write: Callable[..., None], message: str, **data: Any) -> None:
    """Write a line into the run's log, if it may have any more."""
    with contextlib.suppress(LogLimitExceeded):
        write(message, **data)
