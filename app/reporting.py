"""What a server or worker process says about itself: lines for people, or JSON for machines, on standard error.

Everything goes through the standard library's ``logging``; structlog only shapes the lines. Tracebacks never show
local variables, which may hold secrets, and the password of a URL is left out wherever it turns up. A line that was
logged while a run was worked for names it: ``run_id``, ``definition_id``, ``iteration`` and ``attempt``.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from typing import Any

from app.concern import concern
from app.settings import Settings

# structlog would load rich for its tracebacks, and with it pygments: megabytes in every process that nobody here uses.
_hides_rich = sys.modules.setdefault("rich", None) is None  # type: ignore[arg-type]
from structlog.processors import EventRenamer, JSONRenderer, TimeStamper, format_exc_info  # noqa: E402
from structlog.stdlib import ExtraAdder, ProcessorFormatter, add_log_level, add_logger_name  # noqa: E402
from structlog.typing import EventDict, Processor  # noqa: E402

if _hides_rich:
    del sys.modules["rich"]

logger = logging.getLogger("taskloom")

QUIET = ("httpx2", "httpcore2", "asyncio", "alembic")
"""Libraries whose everyday lines are nobody's business."""
COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "1;31", "critical": "1;31"}
_extras = ExtraAdder()
_PASSWORD = re.compile(r"(?<=://)([^\s/@:\"]*):[^\s/@\"]+@")
_PASSWORD_ARGUMENT = re.compile(r"(?<=[?&]password=)[^&\s\"']+")


def configure_logging(settings: Settings) -> None:
    """Shape what this process logs, as ``TASKLOOM_LOG_FORMAT`` and ``TASKLOOM_LOG_LEVEL`` say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings.log_format, colours=sys.stderr.isatty()))
    # The root alone would not do: a worker lowers it, so that INFO gets into the logs of runs.
    handler.setLevel(settings.log_level)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)
    threading.excepthook = lambda end: _log_uncaught(f"The thread '{end.thread and end.thread.name}'", end.exc_value)
    sys.excepthook = lambda _kind, error, _trace: _log_uncaught("The process", error)


def _log_uncaught(what: str, error: BaseException | None) -> None:
    """What Python would write by itself, and not as a line."""
    if isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(KeyboardInterrupt, error, error.__traceback__)
    elif error is not None:
        logger.critical("%s ended with %s.", what, type(error).__name__, exc_info=error)


def formatter(format: str, *, colours: bool = False) -> logging.Formatter:
    """The formatter for ``console`` or ``json`` lines."""
    shape = _json() if format == "json" else _console(colours=colours)
    return ProcessorFormatter(
        foreign_pre_chain=[_add_extras, add_log_level, add_logger_name, _drop_leftovers, _name_run],
        processors=[ProcessorFormatter.remove_processors_meta, format_exc_info, *shape, _hide_passwords],
    )


def _json() -> list[Processor]:
    return [TimeStamper(fmt="iso", utc=True), EventRenamer("message"), JSONRenderer(_document, default=str)]


def _console(*, colours: bool) -> list[Processor]:
    def line(_logger: Any, _method: str, event: EventDict) -> str:
        """``12:34:56 WARNING worker  Redis is away.  key=value``, and below it the traceback of an error."""
        time, level, text = event.pop("timestamp"), str(event.pop("level")), str(event.pop("event"))
        name = str(event.pop("logger", "")).removeprefix("taskloom.")
        trace = event.pop("exception", "")
        head = f"{level.upper():<7}"
        if colours:
            head = f"\x1b[{COLOURS.get(level, '0')}m{head}\x1b[0m"
        more = "".join(f"  {key}={value}" for key, value in event.items())
        return f"{time} {head} {name}: {text}{more}" + (f"\n{trace}" if trace else "")

    return [TimeStamper(fmt="%H:%M:%S", utc=False), line]


def _document(event: EventDict, **options: Any) -> str:
    """A line as JSON, whatever somebody's extra values are: what JSON does not have is written as Python shows it."""
    try:
        return json.dumps(event, **options)
    except (TypeError, ValueError, RecursionError):
        return json.dumps({str(key): str(value) for key, value in event.items()})


def _add_extras(logger: Any, method: str, event: EventDict) -> EventDict:
    """The extra values of a line; one that somebody calls ``event`` must not take the message's place."""
    message = event["event"]
    return {**_extras(logger, method, event), "event": message}


def _drop_leftovers(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """What another handler's formatter left in the record is no extra value of the line."""
    for key in ("message", "asctime"):
        event.pop(key, None)
    return event


def _name_run(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for key, value in (concern.get() or {}).items():
        event.setdefault(key, value)
    return event


def _hide_passwords(_logger: Any, _method: str, line: Any) -> str:
    """The finished line, so that none gets out by way of some value within another one."""
    return _PASSWORD_ARGUMENT.sub("***", _PASSWORD.sub(r"\1:***@", line))
