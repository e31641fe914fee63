"""One question to the service, on the servers that this command talks to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from app.cli.environment import settings

if TYPE_CHECKING:
    from app.service import TaskService

Answer = TypeVar("Answer")


def asked(question: Callable[[TaskService], Awaitable[Answer]]) -> Answer:
    """What the service answers. Raises what it raises, which ``Commands`` turns into a sentence."""
    return asyncio.run(_ask(question))


async def _ask(question: Callable[[TaskService], Awaitable[Answer]]) -> Answer:
    from app.service import TaskService

    async with TaskService.connect(settings=settings()) as tasks:
        return await question(tasks)
