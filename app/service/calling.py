"""Where the code of definitions is called, which may take its time or raise whatever it likes, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, Protocol, TypeVar

from app.errors import ServiceUnavailable, TriggerRefused

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


class Call(Protocol):
    """Calls what calls the code of definitions, where that code may be called."""

    async def __call__(
        self,
        function: Callable[Parameters, Awaitable[Answer]],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Answer:
        """The function's answer. May raise ``TriggerRefused`` and ``ServiceUnavailable`` where it comes too late."""
        ...


async def call_here(
    function: Callable[Parameters, Awaitable[Answer]], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Answer:
    """Call it on this event loop, for as long as it takes."""
    return await function(*args, **kwargs)


def calling_within(seconds: float, loop: asyncio.AbstractEventLoop | None = None) -> Call:
    """Validators and ``before_trigger`` are task code: they run on the loop that task code expects (by default the
    caller's own), and for so long at the most. A loop beside that may be stuck before it comes to them, which is not
    their fault: then what was to be done is left to others.
    """

    async def call(
        function: Callable[Parameters, Awaitable[Answer]], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Answer:
        has_begun = False

        async def there() -> Answer:
            nonlocal has_begun
            has_begun = True
            try:
                return await function(*args, **kwargs)
            except GeneratorExit:
                # A thread of theirs raised it: Python has closed all coroutines below this one, and would go on so.
                raise TriggerRefused(_TORN_DOWN) from None

        called = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), loop or asyncio.get_running_loop()))
        try:
            # Only the future is given up here, so that it matters not whether their code heeds that.
            return await asyncio.wait_for(called, seconds)
        except TimeoutError:
            if has_begun:
                raise TriggerRefused(TOO_SLOW.format(seconds)) from None
            raise ServiceUnavailable(_STUCK.format(seconds)) from None

    return call


TOO_SLOW = (
    "The definition's own checks of a trigger (validators, before_trigger) took longer than {:g} s "
    "(TASKLOOM_HOOK_SECONDS), so nothing was triggered. Make them quicker, or allow them more time."
)
"""What is said of checks that take longer than so many seconds."""
_TORN_DOWN = "The definition's own check of a trigger failed with GeneratorExit, so nothing was triggered."
_STUCK = "The event loop of this worker has been stuck for {:g} s."
