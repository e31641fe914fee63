"""Calling plain functions of others in threads.

Each call gets a daemon thread of its own: a thread that never returns then neither blocks a pool nor the exit.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


async def call_in_thread(function: Callable[..., Result], *args: Any, name: str, ended: Callable[[], object]) -> Result:
    """Call a plain function in a thread of that name. A cancelled caller stops waiting; the thread cannot be stopped.

    ``ended`` is called in the thread when the function has returned or raised, whether or not anybody waits for it.
    Where no thread can be started it is called here.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()
    context = contextvars.copy_context()

    def answer(setter: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            setter(value)

    def work() -> None:
        try:
            outcome: tuple[Callable[[Any], None], Any] = (future.set_result, context.run(function, *args))
        except (StopIteration, GeneratorExit) as error:
            # A future cannot carry them, because they would end the coroutine that awaits it.
            outcome = (future.set_exception, RuntimeError(f"the task raised {error!r}"))
        except BaseException as error:
            outcome = (future.set_exception, error)
        ended()
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            loop.call_soon_threadsafe(answer, *outcome)

    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError:
        ended()
        raise
    return await future
