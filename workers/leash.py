"""The program between a worker and a process of a run: ends the process, and all that it started, with the lease.

``python -I -S leash.py <pipe> <until> <command> …`` runs the command in a process group of its own. From the pipe it
hears until when the lease is valid, by the monotonic clock, which all processes of a machine share. It ends the group
when that time has come, when the pipe is closed (the run ended, or the worker died), or when the command itself has
ended. It then ends as the command did. Nothing but the standard library is imported, so that it starts quickly.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

GRACE_SECONDS = 2.0
NOT_FOUND = 127


def main(pipe: int, until: float, command: list[str]) -> int:
    """Run the command; returns its exit code, negative for a signal."""
    os.set_inheritable(pipe, False)
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    signal.signal(signal.SIGCHLD, _heard)
    process = start(command)
    until = hold(process, pipe, heard, until)
    end_gently(process, heard, until)
    kill_group(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _heard(_signal: int, _frame: object) -> None:
    """A signal for which nobody is called does not arrive in the pipe either."""


def start(command: list[str]) -> int:
    """The command as a process, at the head of a group of its own."""
    process = os.fork()
    # Here and there, because nobody knows who comes first.
    with contextlib.suppress(OSError):
        os.setpgid(process, process or os.getpid())
    if process:
        return process
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(NOT_FOUND)


def hold(process: int, pipe: int, heard: int, until: float) -> float:
    """Wait until the process has ended, or has to; returns until when the lease was valid."""
    rest = b""
    while not has_ended(process) and (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([pipe, heard], [], [], left)
        if heard in ready:
            os.read(heard, 512)
        if pipe in ready:
            data = os.read(pipe, 4096)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            until = float(lines[-1]) if lines else until
    return until


def end_gently(process: int, heard: int, until: float) -> None:
    """SIGTERM, and a moment to heed it while the lease is valid."""
    kill_group(process, signal.SIGTERM)
    latest = min(time.monotonic() + GRACE_SECONDS, until)
    while not has_ended(process) and (left := latest - time.monotonic()) > 0:
        if select.select([heard], [], [], left)[0]:
            os.read(heard, 512)


def has_ended(process: int) -> bool:
    """Whether the process has ended. It is not waited for, so that its number belongs to nobody else yet."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def kill_group(process: int, number: int) -> None:
    """Send a signal to the process and to whatever it started."""
    # None of it may be left but what waits to be waited for.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, number)


if __name__ == "__main__":
    code = main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL takes no handler.
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
