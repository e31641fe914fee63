"""One server process: started with its life tied to ours, its output in a file, stopped by signals in turn."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from app.dev.errors import DevError
from app.dev.lifeline import tied_to_parent

if TYPE_CHECKING:
    import signal
    from asyncio.subprocess import Process
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO

    from app.dev.account import Account

MAX_LOG_BYTES = 10 * 1024 * 1024


class Daemon:
    """A process that serves until it is stopped; it can be started again after it ended."""

    def __init__(self, name: str, log: Path, death_signal: signal.Signals) -> None:
        """Describe the process without starting it.

        Args:
            name: what messages call it.
            log: the file its output is appended to.
            death_signal: what the kernel sends it when this process dies.
        """
        self.name = name
        self.log = log
        self._death_signal = death_signal
        self._process: Process | None = None

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The process id, or None when it does not run."""
        return self._process.pid if self._process is not None and self.running else None

    async def spawn(self, command: Sequence[str], account: Account | None) -> None:
        """Start the command in the log's directory, in a session of its own so that Ctrl-C does not reach it.

        Raises:
            DevError: it runs already or cannot be executed.
        """
        if self.running:
            raise DevError(f"{self.name} runs already.")
        with self._open_log() as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.log.parent,
                    env=server_environment(),
                    start_new_session=True,
                    preexec_fn=tied_to_parent(self._death_signal, account),
                )
            except OSError as error:
                raise DevError(f"{self.name} could not be started: {error}") from error

    def _open_log(self) -> BinaryIO:
        too_long = self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES
        return self.log.open("wb" if too_long else "ab")

    async def wait(self) -> int:
        """Wait until the process has ended; returns its exit code, negative for the signal that ended it."""
        return 0 if self._process is None else await self._process.wait()

    async def stop(self, signals: Sequence[tuple[signal.Signals, float]]) -> None:
        """Send one signal after the other, each followed by its time in seconds, until the process has ended."""
        for ask, seconds in signals:
            if not self.running:
                return
            self.send(ask)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), seconds)

    def send(self, ask: signal.Signals) -> None:
        """Send a signal to the process, if it runs."""
        if self._process is not None and self.running:
            with suppress(ProcessLookupError):
                self._process.send_signal(ask)

    def last_words(self) -> str:
        """The last lines of the log, for a message that says why it did not start."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
        except OSError:
            return ""


def server_environment() -> dict[str, str]:
    """This process's environment without what would change a server's ways: PG*, the locale and the time zone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}
