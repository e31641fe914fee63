"""``taskloom dev`` as a process of its own, for tests that signal it and read what it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

STAND_INS = Path(__file__).with_name("stand_ins.py")
PATIENCE_SECONDS = 30.0


def until(condition: Callable[[], object], what: str) -> None:
    """Return once the condition holds; fail with ``what`` when it does not in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"this did not come about: {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not yet reaped does not."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self").exists():
        return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return subprocess.run(["ps", "-p", str(pid)], capture_output=True, check=False).returncode == 0


class DevProcess:
    """A running supervisor with stand-ins for server and worker."""

    def __init__(self, checkout: Path, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, str(STAND_INS), "dev", str(checkout)],
            env={**kept, "PORT": "0", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def said(self) -> str:
        """All it has said up to now."""
        return "".join(self.lines)

    def until_said(self, text: str) -> None:
        """Wait until a text was said; fail when the process ends without it."""
        until(lambda: text in self.said or self.process.poll() is not None, f"{text!r} in:\n{self.said}")
        self._reader.join(0.2)
        assert text in self.said, f"{text!r} is not in:\n{self.said}"

    def pid_of(self, who: str) -> int:
        """The process id that a service said last."""
        return int(re.findall(rf"^{who} +\| (?:pid|process) (\d+)", self.said, re.MULTILINE)[-1])

    def pids(self) -> list[int]:
        """The process ids of all four services."""
        return [self.pid_of(who) for who in ("PostgreSQL", "Valkey", "server", "worker")]

    def signal(self, ask: signal.Signals) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        self.process.send_signal(ask)
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code

    def __enter__(self) -> DevProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE_SECONDS)
