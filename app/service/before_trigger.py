"""A definition's own word on a trigger: its ``before_trigger``, which may take its time or raise whatever it likes."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable
from typing import Any

from app.auth import Principal
from app.errors import TriggerRefused
from app.registry import Definition
from app.service.calling import TOO_SLOW
from app.threads import call_in_thread

PLAIN_AT_ONCE = 32
"""Plain functions under way at once. One that hangs has its thread for ever, which hurts its like and nobody else."""
ASKED_AT_ONCE = PLAIN_AT_ONCE // 2
"""How many of one call are asked side by side: there is room for those of others, and no time runs out in a queue."""
FULL = (
    "{} plain before_trigger functions are under way in this process, as many as may be, and that of this trigger was "
    "not through within {:g} s (TASKLOOM_HOOK_SECONDS), so nothing was triggered. See where they hang, and start it "
    "again."
)

logger = logging.getLogger("taskloom.service")


class BeforeTrigger:
    """Asks definitions, each for so many seconds at the most."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._room = asyncio.Semaphore(PLAIN_AT_ONCE)

    async def ask(self, code: Definition, parsed: Any, principal: Principal) -> TriggerRefused | None:
        """What a definition's ``before_trigger``, if it has one, has against an input."""
        if code.before_trigger is None:
            return None
        deadline = asyncio.timeout(self._seconds)
        try:
            async with deadline:
                await self._call(code.before_trigger, parsed, principal)
        except TriggerRefused as refusal:
            return refusal
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            if deadline.expired():
                return TriggerRefused(self._too_late())
            # Whatever else it raises, because a SystemExit would end this process.
            logger.exception("before_trigger of '%s' failed", code.id)
            return TriggerRefused(
                f"The check of '{code.id}' before a trigger failed with {type(error).__name__}, so nothing was "
                "triggered. The server's log has the details."
            )
        return None

    async def _call(self, hook: Callable[..., Any], parsed: Any, principal: Principal) -> None:
        if inspect.iscoroutinefunction(hook):
            await hook(parsed, principal)
            return
        # In a thread, because a plain function may block, and the server must not stand still meanwhile.
        answer, error = await self._in_thread(hook, parsed, principal)
        if error is not None:
            raise error
        if inspect.isawaitable(answer):
            await answer

    async def _in_thread(self, hook: Callable[..., Any], *args: Any) -> tuple[Any, BaseException | None]:
        await self._room.acquire()
        loop = asyncio.get_running_loop()

        def make_room() -> None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
                loop.call_soon_threadsafe(self._room.release)

        return await call_in_thread(_outcome, hook, *args, name="before-trigger", ended=make_room)

    def _too_late(self) -> str:
        if self._room.locked():
            return FULL.format(PLAIN_AT_ONCE, self._seconds)
        return TOO_SLOW.format(self._seconds)


def _outcome(hook: Callable[..., Any], *args: Any) -> tuple[Any, BaseException | None]:
    """What a hook returns or raises: not all of that could be raised by a future."""
    try:
        return hook(*args), None
    except BaseException as error:
        return None, error


def _is_cancelled() -> bool:
    """Whether whoever asks does not wait any more; else a CancelledError is one that the hook raised."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
