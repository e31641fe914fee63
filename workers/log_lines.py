"""The log of a run on its way to the recorder: its limits, lines from threads, and a brake on those who hurry."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from app.counting import counted
from app.models import TaskLogLevel
from app.settings import LARGEST_LINE_BYTES, Settings
from workers import json_values
from workers.held import PORTION_BYTES, HeldRun, LogLine, Stop, StopReason, size_of

if TYPE_CHECKING:
    from workers.clockwork import Clockwork
    from workers.recorder import Recorder
    from workers.threads import Bridge

THREAD_LINES_SECONDS = 0.03
HOLD_BACK_SECONDS = 10.0
MOST_WAITING_BYTES = LARGEST_LINE_BYTES
"""Log lines of one run that wait in a worker's memory, at the most."""


class LogLimitExceeded(Exception):
    """The run wrote more log lines or bytes than the settings allow."""


class TaskLogger:
    """Writes log lines of a run: ``ctx.log.info("Hashed", path=str(path), bytes=size)``.

    A line is never refused for what is in it: NUL characters are made visible, long messages are cut, and data that is
    not JSON is stored as text. Raises ``LogLimitExceeded`` past the limits of the settings; what the standard library's
    ``logging`` writes past them is left out, and the next checkpoint raises it.
    """

    __slots__ = ("_lines", "_write")

    # Nothing that it holds may hold it: a circle would wait for the garbage collector once the run is over.
    def __init__(self, lines: LogLines) -> None:
        self._lines = lines
        self._write = lines.write

    def debug(self, message: object, /, **data: Any) -> None:
        """A line for whoever looks for a fault."""
        self._write(TaskLogLevel.DEBUG, message, data)

    def info(self, message: object, /, **data: Any) -> None:
        """A line that tells what happens."""
        self._write(TaskLogLevel.INFO, message, data)

    def warning(self, message: object, /, **data: Any) -> None:
        """A line about something that is not as it should be, though the run goes on."""
        self._write(TaskLogLevel.WARNING, message, data)

    def error(self, message: object, /, **data: Any) -> None:
        """A line about something that went wrong."""
        self._write(TaskLogLevel.ERROR, message, data)

    def add(self, level: TaskLogLevel, message: object, data: dict[str, Any]) -> None:
        """A line of any level."""
        self._write(level, message, data)

    def collect_lines(self) -> None:
        """Put what threads wrote so far into the next write."""
        self._lines.collect()


class LogLines:
    """Takes lines from ``ctx.log`` and the standard library's ``logging``, on the event loop and in threads."""

    def __init__(
        self, held: HeldRun, recorder: Recorder, settings: Settings, bridge: Bridge, clockwork: Clockwork
    ) -> None:
        self._held = held
        self._recorder = recorder
        self._settings = settings
        self._bridge = bridge
        self._clockwork = clockwork
        self._thread_lines: deque[LogLine] = deque()
        self._thread_bytes = 0
        self._collecting: asyncio.TimerHandle | None = None

    def write(self, level: TaskLogLevel, message: object, data: dict[str, Any]) -> None:
        """Write one line. Raises ``LogLimitExceeded``, and ``Stop`` when the run is not ours any more."""
        if self._held.is_closed:
            raise Stop(StopReason.LOST)
        text = json_values.plain(_text(message), self._settings.max_log_message_bytes)
        line = (level, text, json_values.encode_data(data, self._settings.max_log_data_bytes), self._clockwork.now())
        self._charge(len(text) + len(line[2] or ""))
        self._refuse_beyond_memory()
        if self._bridge.is_here:
            self.collect()
            self._held.add_line(line)
            self._recorder.submit(self._held)
        else:
            self._thread_lines.append(line)
            self._thread_bytes += size_of(line)
            self._bridge.call(self._collect_soon)
            if self._thread_bytes > PORTION_BYTES:
                # A thread that logs faster than PostgreSQL takes it is made to wait, but not for ever.
                self._bridge.wait_for(self._store_lines(), HOLD_BACK_SECONDS)

    async def _store_lines(self) -> None:
        if not self._held.is_closed:
            self.collect()
            # Shielded: others wait for the same flush, the settlement among them.
            await asyncio.shield(self._recorder.submit(self._held))

    def _refuse_beyond_memory(self) -> None:
        """Refuse a line where too many wait already; code on the event loop cannot be made to wait."""
        if self._held.waiting_bytes + self._thread_bytes > MOST_WAITING_BYTES:
            raise LogLimitExceeded(
                f"More than {MOST_WAITING_BYTES:,} bytes of log lines wait to be stored. "
                "Log less at a time, with `await ctx.checkpoint()` in between."
            )

    def collect(self) -> None:
        """Take over the lines that threads wrote, in their order; before every write, so that they go out with it."""
        self._thread_bytes = 0
        while self._thread_lines:
            self._held.add_line(self._thread_lines.popleft())

    def _collect_soon(self) -> None:
        """A thread cannot log and save in one step, so its lines wait a moment for the checkpoint that may follow."""
        if self._collecting is None:
            self._collecting = asyncio.get_running_loop().call_later(THREAD_LINES_SECONDS, self._collect_now)

    def _collect_now(self) -> None:
        self._collecting = None
        if self._thread_lines and not self._held.is_closed:
            self.collect()
            self._recorder.submit(self._held)

    def _charge(self, size: int) -> None:
        """Count a line. The first one past a limit is left out with a word, and so is all that follows."""
        held, settings = self._held, self._settings
        if held.log_refusal is None:
            held.logged_bytes += size
            if held.logged_bytes > settings.max_log_bytes:
                held.log_refusal = (
                    f"The attempt logged more than {settings.max_log_bytes:,} bytes (TASKLOOM_MAX_LOG_BYTES)."
                )
            elif held.log_count >= settings.max_log_lines:
                held.log_refusal = (
                    f"The run logged more than {counted(settings.max_log_lines, 'line')} (TASKLOOM_MAX_LOG_LINES)."
                )
            else:
                return
            self._bridge.call(self._say_what_is_left_out, held.log_refusal)
        raise LogLimitExceeded(held.log_refusal)

    def _say_what_is_left_out(self, refusal: str) -> None:
        self.collect()
        self._held.add_line((TaskLogLevel.WARNING, f"{refusal} What follows is left out.", None, self._clockwork.now()))
        self._recorder.submit(self._held)

    def raise_if_over(self) -> None:
        """Tell code that its lines are left out, which the standard library's ``logging`` keeps from it."""
        if self._held.log_refusal is not None:
            raise LogLimitExceeded(self._held.log_refusal)


def _text(message: object) -> str:
    try:
        return str(message)
    except Exception as error:
        return f"(a message that cannot be read: {type(error).__name__})"
