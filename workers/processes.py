"""Processes that runs start with ``ctx.run_process``: each is dead before its run is settled, or its lease over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

from workers.held import HeldRun, Stop, StopReason
from workers.term import Term

LEASH = str(Path(__file__).with_name("leash.py"))
LOOK_SECONDS = 0.1
LAST_WORDS_SECONDS = 1.0
CHUNK = 65536


class Leashes:
    """The pipes by which all processes of this worker hear how long its lease is valid."""

    def __init__(self, term: Term) -> None:
        self.term = term
        self._pipes: set[FileIO] = set()
        self._lock = threading.Lock()
        self.until = 0.0

    @property
    def are_held(self) -> bool:
        """Whether there is any process. May be asked by any thread."""
        return bool(self._pipes)

    def renew(self, until: float) -> None:
        """The lease is valid until then, by the monotonic clock. Called by the thread that holds it."""
        with self._lock:
            self.until = until
            for pipe in self._pipes:
                with contextlib.suppress(OSError):
                    pipe.write(_line(until))

    def hold(self, pipe: FileIO) -> None:
        """Tell this pipe too, unless it was let go of already."""
        with self._lock:
            if pipe.closed:
                return
            self._pipes.add(pipe)
            with contextlib.suppress(OSError):
                pipe.write(_line(self.until))

    def let_go(self, pipe: FileIO) -> None:
        """Close a pipe, which ends the process behind it. May be called by any thread, and again."""
        with self._lock:
            self._pipes.discard(pipe)
            pipe.close()


class Child:
    """One process of a run, from before it is started: a run that ends just then waits for it as well."""

    def __init__(self, leashes: Leashes, command: Sequence[str], **options: Any) -> None:
        """Start a command; ``options`` are those of ``asyncio.create_subprocess_exec``."""
        self._leashes = leashes
        theirs, end = os.pipe()
        os.set_blocking(end, False)
        self._pipe = FileIO(end, "w")
        self.starting = asyncio.create_task(self._start(theirs, command, options))
        """Gives the process."""

    async def _start(
        self, theirs: int, command: Sequence[str], options: Mapping[str, Any]
    ) -> asyncio.subprocess.Process:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", LEASH, str(theirs), str(self._leashes.until), *command,
                pass_fds=(theirs,), start_new_session=True,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, **options,
            )  # fmt: skip
        finally:
            os.close(theirs)
        self._leashes.hold(self._pipe)
        return process

    @property
    def is_held(self) -> bool:
        """Whether it was not told to end yet."""
        return not self._pipe.closed

    def let_go(self) -> None:
        """Tell it to end, and all that it started. May be called by any thread."""
        self._leashes.let_go(self._pipe)

    async def end(self) -> None:
        """End it and all that it started; returns when they are dead."""
        self.let_go()
        await asyncio.wait([self.starting])
        if self.starting.exception() is None:
            await self.starting.result().wait()


async def run(
    held: HeldRun,
    leashes: Leashes,
    command: Sequence[str],
    *,
    cwd: str | os.PathLike[str] | None,
    env: Mapping[str, str] | None,
    input: bytes | None,
    check: bool,
    limit: int,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command for a run; see ``TaskContext.run_process``."""
    if held.is_closed:
        # A thread asked, and the run has ended before it was heard.
        raise Stop(held.stop or StopReason.LOST)
    began = time.monotonic()
    stdin = asyncio.subprocess.DEVNULL if input is None else asyncio.subprocess.PIPE
    child = Child(leashes, command, cwd=cwd, env=None if env is None else dict(env), stdin=stdin)
    held.children.add(child)
    try:
        process = await asyncio.shield(child.starting)
        working = asyncio.ensure_future(_communicate(process, input, limit))
        while not working.done():
            await asyncio.wait([working], timeout=LOOK_SECONDS)
            if held.is_closed or held.stop not in (None, StopReason.SHUTDOWN):
                working.cancel()
                raise Stop(held.stop or StopReason.LOST)
        out, err = working.result()
    finally:
        # Whatever stops this here: the runner waits for the end before it settles the run.
        await asyncio.shield(child.end())
        held.children.discard(child)
    if not leashes.term.covers(began):
        # It was killed with the lease, which says nothing about the command. Whoever notices first gives the run back.
        held.ask_release()
        raise Stop(held.stop or StopReason.SHUTDOWN)
    code = process.returncode
    assert code is not None
    if check and code:
        raise CommandFailed(code, command, out, err)
    return subprocess.CompletedProcess(list(command), code, out, err)


class CommandFailed(subprocess.CalledProcessError):
    """A command ended with another exit code than 0; the message has the last of what it wrote to standard error."""

    def __init__(self, code: int, command: Sequence[str], out: bytes, err: bytes) -> None:
        super().__init__(code, list(command), out, err)

    def __str__(self) -> str:
        last = self.stderr.decode(errors="replace").strip()[-1000:]
        return super().__str__() + (f" {last}" if last else "")


async def _communicate(process: asyncio.subprocess.Process, input: bytes | None, limit: int) -> tuple[bytes, bytes]:
    out, err = bytearray(), bytearray()
    talking = [
        asyncio.ensure_future(_read(process.stdout, out, limit)),
        asyncio.ensure_future(_read(process.stderr, err, limit)),
        asyncio.ensure_future(_feed(process.stdin, input)),
    ]
    try:
        await process.wait()
        # Something in a session of its own may keep the pipes open for ever.
        await asyncio.wait(talking, timeout=LAST_WORDS_SECONDS)
    finally:
        for task in talking:
            task.cancel()
    return bytes(out), bytes(err)


async def _read(stream: asyncio.StreamReader | None, kept: bytearray, limit: int) -> None:
    """The last ``limit`` bytes of a stream, read to its end so that the one who writes is not held up."""
    while stream is not None and (chunk := await stream.read(CHUNK)):
        kept += chunk
        del kept[: max(0, len(kept) - limit)]


async def _feed(stream: asyncio.StreamWriter | None, input: bytes | None) -> None:
    if stream is None or input is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(input)
        await stream.drain()
    stream.close()


def _line(until: float) -> bytes:
    return f"{until:.3f}\n".encode()
