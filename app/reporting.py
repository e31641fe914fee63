"""What a server or worker process says about itself: lines for people, or JSON for machines, on standard error.

Everything goes through the standard library's ``logging``; structlog only shapes the lines. Tracebacks never show
local variables, which may hold secrets.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from app.settings import Settings

QUIET = ("httpx2", "httpcore2", "asyncio", "alembic")
"""Libraries whose everyday lines are nobody's business."""


def configure_logging(settings: Settings) -> None:
    """Shape what this process logs, as ``TASKLOOM_LOG_FORMAT`` and ``TASKLOOM_LOG_LEVEL`` say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings.log_format, colours=sys.stderr.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def formatter(format: str, *, colours: bool) -> logging.Formatter:
    """The formatter for ``console`` or ``json`` lines."""
    shape = _json() if format == "json" else _console(colours=colours)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, _add_extra],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shape],
    )


def _json() -> list[Processor]:
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(),
    ]


def _console(*, colours: bool) -> list[Processor]:
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        _short_name,
        structlog.dev.ConsoleRenderer(
            colors=colours, pad_event_to=0, pad_level=True, exception_formatter=structlog.dev.plain_traceback
        ),
    ]


def _add_extra(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """What was passed as ``extra``; the record's own attributes stay out."""
    return structlog.stdlib.ExtraAdder()(_logger, _method, event)


def _short_name(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """``taskloom.worker`` is ``worker`` for people."""
    if "logger" in event:
        event["logger"] = str(event["logger"]).removeprefix("taskloom.")
    return event
