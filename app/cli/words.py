"""Values as people read them: statuses in colour, times of this machine, lengths of time, tags."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.text import Text

from app.clock import now

if TYPE_CHECKING:
    from app.models import TaskRun

STYLES = {
    "SCHEDULED": "blue",
    "QUEUED": "cyan",
    "RUNNING": "bold yellow",
    "WAITING": "blue",
    "ABORTING": "magenta",
    "SUCCEEDED": "green",
    "FAILED": "bold red",
    "ABORTED": "magenta",
    "LOST": "bold red",
    "EXPIRED": "red",
}
LEVEL_STYLES = {"DEBUG": "dim", "INFO": "green", "WARNING": "yellow", "ERROR": "bold red"}
OUTCOME_STYLES = {
    "SUCCEEDED": "green",
    "CONTINUED": "blue",
    "RETRIED": "yellow",
    "FAILED": "bold red",
    "ABORTED": "magenta",
    "INTERRUPTED": "yellow",
    "LOST": "bold red",
}

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def status_text(status: str, reason: str | None = None) -> Text:
    """A status in its colour, with its reason behind it."""
    text = Text(str(status), style=STYLES.get(str(status), ""))
    return text.append(f" ({reason})", style="not bold dim") if reason else text


def visible(text: str) -> str:
    """A text whose control characters are shown and not obeyed by the terminal; lines and tabs stay."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def local_time(moment: datetime | None) -> str:
    """A point in time on this machine's clock, to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else "-"


def ago(moment: datetime | None) -> str:
    """How long ago, or in how long, in the largest unit that fits."""
    if moment is None:
        return "-"
    seconds = (now() - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{rough(seconds)} ago" if seconds > 0 else f"in {rough(-seconds)}"


def rough(seconds: float) -> str:
    """A length of time in one unit, as in ``3 h``."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def exact(seconds: float | None) -> str:
    """A length of time in two units at most, as in ``1 h 12 min``, ``3.2 s`` or ``40 ms``."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for (unit, size), (smaller, part) in pairwise(_UNITS):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def number(value: float) -> str:
    """A number with commas, as in ``28,430,512`` or ``0.25``: whole ones in full, others to six digits."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:,.6g}"


def progress_words(run: TaskRun) -> str:
    """How far a run is: its percentage, or its count, or nothing when it said neither."""
    stored = run.progress
    if stored is None:
        return ""
    if (percent := stored.get("percent")) is not None:
        # Rounded down, so that 100 % is said of nothing that is not complete.
        return f"{int(percent)} %"
    return number(stored["current"]) if stored.get("current") is not None else ""
