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
from workers.threads import call_in_thread


class Hooks:
    """Calls hooks, each for so many seconds at the most."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def call(
        self, held: HeldRun, context: TaskContext, name: str, hook: Callable[..., Any] | None, *args: Any
    ) -> None:
        """Call a hook of a run. What goes wrong in it is logged in the run, and changes nothing else."""
        if hook is None:
            return
        try:
            async with asyncio.timeout(self._seconds):
                if inspect.iscoroutinefunction(hook):
                    await hook(context, *args)
                else:
                    await call_in_thread(hook, context, *args)
        except Stop:
            context.log.warning(f"{name} stopped at a checkpoint, because the run has to stop.")
        except GeneratorExit:
            raise
        except BaseException as error:
            if held.is_torn_down:
                raise
            stored = error_of(error)
            with contextlib.suppress(LogLimitExceeded):
                context.log.error(f"{name} failed: {stored.type}: {stored.message}", traceback=stored.traceback)
