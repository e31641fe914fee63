"""Which run the code at hand is about, so that every line which a process logs meanwhile can say so.

Follows into tasks that the code starts and into ``asyncio.to_thread``, as context variables do; into a thread that it
starts by itself only by ``contextvars.copy_context().run``.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

concern: ContextVar[dict[str, Any] | None] = ContextVar("concern", default=None)
"""What names the attempt that this code works for, or None when it works for nobody's run."""


def attempt_of(run_id: object, definition_id: str, iteration: int, attempt: int) -> dict[str, Any]:
    """What names an attempt at an iteration of a run, as log lines have it."""
    return {"run_id": str(run_id), "definition_id": definition_id, "iteration": iteration, "attempt": attempt}
