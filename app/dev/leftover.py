"""Servers that outlived the process that started them, and the pid files of servers that did not.

Whoever calls this holds the directory's lock, so that any server still at work in it is a leftover.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

END_SECONDS = 15.0
_PROC = Path("/proc")


async def end_leftovers(directory: Path, program_name: str, pid_file: Path) -> None:
    """End every server that still works in the directory, then remove its pid file.

    PostgreSQL refuses to start while the pid in the file exists, even as a zombie that nobody reaps or as another
    program that was given the number since.

    Args:
        directory: the working directory of the server's processes.
        program_name: what the name of their program contains.
        pid_file: a file in it whose first line is the process id of the server.
    """
    # Only the server itself is asked: to PostgreSQL's other processes SIGINT means other things.
    _send(signal.SIGINT, _number_in(pid_file) & _pids(directory, program_name, pid_file))
    if not await _all_end(directory, program_name, pid_file):
        _send(signal.SIGKILL, _pids(directory, program_name, pid_file))
        await _all_end(directory, program_name, pid_file)
    pid_file.unlink(missing_ok=True)  # noqa: ASYNC240 (one system call)


def _send(ask: signal.Signals, pids: set[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, ask)


async def _all_end(directory: Path, program_name: str, pid_file: Path) -> bool:
    deadline = asyncio.get_running_loop().time() + END_SECONDS
    while _pids(directory, program_name, pid_file):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def _number_in(pid_file: Path) -> set[int]:
    try:
        return {int(pid_file.read_text().split("\n", 1)[0])}
    except (OSError, ValueError):
        return set()


def _pids(directory: Path, program_name: str, pid_file: Path) -> set[int]:
    if (_PROC / "self").exists():
        return {int(process.name) for process in _PROC.glob("[0-9]*") if _is_at(process, directory, program_name)}
    return {pid for pid in _number_in(pid_file) if _is_shown_with(pid, directory, program_name)}


def _is_at(process: Path, directory: Path, program_name: str) -> bool:
    try:
        return program_name in (process / "comm").read_text() and (process / "cwd").readlink() == directory
    except OSError:
        # It ended meanwhile, is a zombie, or somebody else's.
        return False


def _is_shown_with(pid: int, directory: Path, program_name: str) -> bool:
    """The same for systems without ``/proc``, where only the server itself can be told, by its command line."""
    answer = subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False)
    return program_name in answer.stdout and str(directory) in answer.stdout
