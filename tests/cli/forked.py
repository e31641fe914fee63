"""``taskloom`` as a process that was forked with everything loaded, which spares a second of processor time each."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TextIO

from tests.cli.command import PATIENCE_SECONDS, ROOT, Answer, Command

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.cli.preloaded"])
_STREAMS = (("in", os.O_RDONLY), ("out", os.O_WRONLY | os.O_CREAT), ("err", os.O_WRONLY | os.O_CREAT))


class Forked(Command):
    """Runs ``taskloom`` with a test's servers; what begins with ``started`` is a process from the very beginning."""

    async def __call__(self, *args: str, stdin: str = "", cwd: Path = ROOT, **environment: str) -> Answer:
        """Run the command to its end."""
        with tempfile.TemporaryDirectory() as directory:
            files = Path(directory)
            (files / "in").write_text(stdin)
            variables = {**self.environment, **environment}
            code = await asyncio.to_thread(_run, args, variables, cwd, files)
            return Answer(code, (files / "out").read_text(), (files / "err").read_text())


def _run(args: tuple[str, ...], environment: dict[str, str], cwd: Path, files: Path) -> int:
    process = _CONTEXT.Process(target=_become, args=(args, environment, cwd, files))
    process.start()
    process.join(PATIENCE_SECONDS)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"taskloom {' '.join(args)} did not end: {(files / 'err').read_text()}")
    return process.exitcode


def _become(args: tuple[str, ...], environment: dict[str, str], cwd: Path, files: Path) -> None:
    """Be the command, in the process that was forked for it."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(cwd)
    for number, (name, flags) in enumerate(_STREAMS):
        os.dup2(os.open(files / name, flags), number)
    sys.stdin, sys.stdout, sys.stderr = _reader(0), _writer(1), _writer(2)
    sys.path.insert(0, str(cwd))
    sys.argv = ["taskloom", *args]
    from app.cli.application import app

    app(prog_name="taskloom")


def _reader(number: int) -> TextIO:
    return open(number, encoding="utf-8", closefd=False)


def _writer(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", closefd=False)
