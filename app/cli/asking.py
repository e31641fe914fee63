"""One question to the service, on the servers that this command talks to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from app.cli.environment import settings

if TYPE_CHECKING:
    from app.service import TaskService
    from app.settings import Settings

Answer = TypeVar("Answer")


class Code(Enum):
    """Whose task functions have to be there for a question."""

    NONE = "none"
    OWN = "own"
    """The user's: a ``before_trigger`` and a model of an input can only be asked where their code is."""
    ALL = "all"
    """The shipped ones as well: a fresh database knows no definitions before a process has published them."""


def asked(question: Callable[[TaskService], Awaitable[Answer]], code: Code = Code.NONE) -> Answer:
    """What the service answers. Raises what it raises, which ``Commands`` turns into a sentence."""
    chosen = settings()
    if code is not Code.NONE:
        from app.registry import registry

        registry.load(chosen.tasks if code is Code.OWN else chosen.task_modules)
    return asyncio.run(_ask(question, chosen))


async def _ask(question: Callable[[TaskService], Awaitable[Answer]], chosen: Settings) -> Answer:
    from app.service import TaskService

    async with TaskService.connect(settings=chosen) as tasks:
        return await question(tasks)
