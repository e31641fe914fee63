"""Exceptions of task code as they are stored: a type, a message that is never empty, and a traceback of their code."""

from __future__ import annotations

import traceback

from app.states import RunError
from workers.json_values import plain

MESSAGE_BYTES = 8 * 1024
TRACEBACK_BYTES = 32 * 1024


def error_of(error: BaseException) -> RunError:
    """What is stored about an exception."""
    return RunError(type(error).__name__, plain(message_of(error), MESSAGE_BYTES), _traceback(error))


def message_of(error: BaseException) -> str:
    """An exception's message, or a sentence where it has none."""
    try:
        text = str(error)
    except BaseException as second:
        # Whatever theirs raises here: past the runner, SystemExit and KeyboardInterrupt would end the worker.
        return f"{type(error).__name__}, whose message cannot be read ({type(second).__name__})"
    return text or f"{type(error).__name__} without a message"


def _traceback(error: BaseException) -> str | None:
    # The frames of the runner itself, at the top, would only be in the way.
    first = error.__traceback__
    while first is not None and first.tb_frame.f_globals.get("__name__", "").startswith("workers.") and first.tb_next:
        if not first.tb_frame.f_globals["__name__"].startswith(("workers.runner", "workers.threads")):
            break
        first = first.tb_next
    try:
        lines = traceback.format_exception(type(error), error, first, limit=-50)
    except Exception:
        return None
    return plain("".join(lines), TRACEBACK_BYTES)
