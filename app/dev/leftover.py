"""Servers that outlived the process that started them, and the pid files of servers that did not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path


async def end_leftover(pid_file: Path, program_name: str, mark: str) -> None:
    """End the server that ``pid_file`` names, if it still runs; else remove the file when its pid is another program's.

    Args:
        pid_file: a file whose first line is a process id.
        program_name: what the server's command line must contain.
        mark: a second text the command line must contain, such as the server's directory.
    """
    pid = _read_pid(pid_file)
    if pid is None:
        return
    command = _command_line(pid)
    if program_name in command and mark in command:
        await _end(pid)
    elif command:
        # The number was given to somebody else since: PostgreSQL would take that for itself still running.
        os.unlink(pid_file)


def _read_pid(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _command_line(pid: int) -> str:
    """The command line of a process, empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        if Path("/proc/self").exists():
            return ""
    answer = subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


async def _end(pid: int) -> None:
    for ask, seconds in ((signal.SIGINT, 10.0), (signal.SIGKILL, 10.0)):
        os.kill(pid, ask)
        deadline = asyncio.get_running_loop().time() + seconds
        while _command_line(pid):
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.05)
        else:
            return
