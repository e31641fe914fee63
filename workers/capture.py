"""Standard-library ``logging`` inside a run lands in the run's log."""

from __future__ import annotations

import contextvars
import logging

from app.models import TaskLogLevel
from workers.context import TaskContext
from workers.held import Stop
from workers.log_lines import LogLimitExceeded

current: contextvars.ContextVar[TaskContext | None] = contextvars.ContextVar("current_run", default=None)
"""The run that this piece of code executes for; follows into tasks that the code starts and ``asyncio.to_thread``."""

OWN = "taskloom"


class RunLogHandler(logging.Handler):
    """Hands records to the log of the run that wrote them; those of nobody's run pass by."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as a log line. Never fails: logging must not end a run, save at the run's own limits."""
        context = current.get()
        if context is None or record.name.split(".", 1)[0] == OWN:
            return
        try:
            context.log.add(_level(record.levelno), self.format(record), {"logger": record.name})
        except (LogLimitExceeded, Stop):
            # The code finds out at its next checkpoint; a library's log call is no place for it.
            return
        except Exception:
            self.handleError(record)


def install() -> RunLogHandler:
    """Hear the root logger from now on; without lowering its level, INFO would not get through."""
    root = logging.getLogger()
    present = [handler for handler in root.handlers if isinstance(handler, RunLogHandler)]
    handler = present[0] if present else RunLogHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    if not present:
        root.addHandler(handler)
    if root.level > logging.INFO or root.level == logging.NOTSET:
        root.setLevel(logging.INFO)
    return handler


def _level(number: int) -> TaskLogLevel:
    if number >= logging.ERROR:
        return TaskLogLevel.ERROR
    if number >= logging.WARNING:
        return TaskLogLevel.WARNING
    return TaskLogLevel.INFO if number >= logging.INFO else TaskLogLevel.DEBUG
