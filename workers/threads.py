"""The one bridge between plain ``def`` tasks, which run in threads, and the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from app.threads import call_in_thread
from workers import forks

Result = TypeVar("Result")


async def call_plain(function: Callable[..., Any], *args: Any) -> Any:
    """Call in a thread what is no coroutine function, and await here what it gives where that is to be awaited.

    So it is with a lambda that calls a coroutine function, and with an object whose ``__call__`` is one.
    """
    name = f"task-{getattr(function, '__name__', 'code')}"
    result = await call_in_thread(function, *args, name=name, ended=forks.end_if_forked)
    return await result if inspect.isawaitable(result) else result


class Bridge:
    """Lets the same call be awaited on the event loop and block in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    @property
    def is_here(self) -> bool:
        """Whether the caller is on the event loop's own thread."""
        return threading.get_ident() == self._thread

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Any:
        """On the loop's thread the coroutine itself, to be awaited; elsewhere its result, after waiting for it."""
        if self.is_here:
            return coroutine
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def wait_for(self, coroutine: Coroutine[Any, Any, None], seconds: float) -> None:
        """In a thread: wait until something is done on the loop, or until so many seconds have passed."""
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(seconds)

    def call(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function on the loop's thread: at once when there, else in the order of the calls."""
        if self.is_here:
            function(*args)
        else:
            self._loop.call_soon_threadsafe(function, *args)
