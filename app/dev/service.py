"""What the supervisor keeps running: a database server, or a child process of Taskloom such as the HTTP server."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from app.dev.errors import DevError
from app.dev.lifeline import tied_to_parent

MAX_LINE_BYTES = 1024 * 1024


class Service(Protocol):
    """Something that runs until it is stopped, and may be started again."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    async def start(self) -> None:
        """Start it; raises DevError when that fails."""
        ...

    async def wait(self) -> int:
        """Wait until it has ended; returns the exit code, negative for the signal that ended it."""
        ...

    async def stop(self) -> None:
        """Stop it in its own way; does nothing when it does not run."""
        ...


class ChildService:
    """A command that runs as a child process; each line it writes goes to ``say`` under its name."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        say: Callable[[str, str], None],
        stop_seconds: float,
    ) -> None:
        """Describe the child without starting it.

        Args:
            name: what its lines and messages are headed by.
            command: the program and its arguments.
            environment: all environment variables of the child.
            say: takes the name and one line.
            stop_seconds: how long it may take after SIGTERM before it gets SIGKILL.
        """
        self.name = name
        self._command = command
        self._environment = environment
        self._say = say
        self._stop_seconds = stop_seconds
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the child, or None before its first start."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the child in a session of its own, so that Ctrl-C in a terminal reaches the supervisor only.

        Raises:
            DevError: the command cannot be executed.
        """
        # A pipe of our own: with asyncio's, waiting for the child would also wait for grandchildren that hold it.
        reading_end, writing_end = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing_end,
                stderr=writing_end,
                env=self._environment,
                start_new_session=True,
                preexec_fn=tied_to_parent(signal.SIGKILL),
            )
        except OSError as error:
            os.close(reading_end)
            raise DevError(f"{self.name} could not be started: {error}") from error
        finally:
            os.close(writing_end)
        self._reading = asyncio.create_task(self._read_lines(reading_end))

    async def wait(self) -> int:
        """Wait until the child has ended; returns the exit code, negative for the signal that ended it."""
        if self._process is None:
            return 0
        code = await self._process.wait()
        self._end_group(self._process.pid)
        return code

    async def stop(self) -> None:
        """Send SIGTERM, wait for the child's time to stop, then send SIGKILL to it and all it started."""
        if self._process is None:
            return
        self._send(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.wait(), self._stop_seconds)
        except TimeoutError:
            self._say("taskloom", f"{self.name} did not stop within {self._stop_seconds:.0f} s and is killed")
            self.kill()
            await self.wait()
        await self._read_rest()

    def kill(self) -> None:
        """Send SIGKILL to the child and to what it started."""
        if self._process is not None and self._process.returncode is None:
            self._end_group(self._process.pid)

    def _send(self, ask: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(ask)

    @staticmethod
    def _end_group(group: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)

    async def _read_lines(self, reading_end: int) -> None:
        stream = asyncio.StreamReader(limit=MAX_LINE_BYTES)
        loop = asyncio.get_running_loop()
        with os.fdopen(reading_end, "rb", buffering=0) as pipe:
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
            try:
                while line := await _next_line(stream):
                    self._say(self.name, line.decode(errors="replace").rstrip())
            finally:
                transport.close()

    async def _read_rest(self) -> None:
        if self._reading is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._reading, 1)
            self._reading = None


async def _next_line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:
        return f"(a line of more than {MAX_LINE_BYTES} bytes was left out)\n".encode()
