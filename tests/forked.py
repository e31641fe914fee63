"""What ``python -m`` would start, forked with everything loaded instead: a second of processor time less each."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO

from tests.workbench import until

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preloaded"])


class Forked:
    """A module that runs as a process of its own."""

    def __init__(self, process: multiprocessing.process.BaseProcess) -> None:
        assert process.pid is not None
        self.pid = process.pid
        self._process = process

    @property
    def returncode(self) -> int | None:
        """The exit code, or None as long as the process lives; that of a signal is negative."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still there."""
        with suppress(ProcessLookupError):
            if self.returncode is None:
                os.kill(self.pid, number)

    async def ended(self, patience: float) -> int:
        """The exit code, once the process has ended."""
        await until(lambda: self.returncode is not None, patience)
        assert self.returncode is not None
        return self.returncode


async def forked(
    module: str, *args: str, environment: Mapping[str, str], cwd: Path, files: tuple[int, int, int] = (0, 1, 2)
) -> Forked:
    """Start a module; the files, given by their numbers, are its input, its output and where it complains."""
    await asyncio.to_thread(_load_everything)
    # Connections are what multiprocessing hands on to a process that it does not fork from this one.
    handed_on = [Connection(os.dup(file)) for file in files]
    process = _CONTEXT.Process(target=_become, args=(module, args, dict(environment), cwd, handed_on))
    process.start()
    return Forked(process)


@cache
def _load_everything() -> None:
    first = _CONTEXT.Process(target=int)
    first.start()
    first.join()


def _become(
    module: str, args: tuple[str, ...], environment: dict[str, str], cwd: Path, files: list[Connection]
) -> None:
    """Be the module, in the process that was forked for it."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(cwd)
    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
        file.close()
    sys.stdin, sys.stdout, sys.stderr = _reader(0), _writer(1), _writer(2)
    sys.path.insert(0, str(cwd))
    sys.argv = [module, *args]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _reader(number: int) -> TextIO:
    return open(number, encoding="utf-8", closefd=False)


def _writer(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", buffering=1, closefd=False)
