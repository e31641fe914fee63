"""One ``make run`` per checkout: a lock on a file, which the system gives back however the holder ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from app.dev.errors import DevError


@contextmanager
def only_one(state: Path) -> Generator[None]:
    """Hold the lock of the state directory as long as the context lasts.

    Raises:
        DevError: another process holds it.
    """
    with _open(state / "lock") as lock_file:
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock_file.seek(0)
            pid = lock_file.read().strip() or "unknown"
            raise DevError(
                f"Taskloom is already running in this checkout (process {pid}): "
                "use that one, or stop it with Ctrl-C in its terminal."
            ) from None
        lock_file.truncate(0)
        lock_file.write(f"{os.getpid()}\n")
        lock_file.flush()
        yield


def _open(path: Path) -> TextIO:
    try:
        return path.open("a+")
    except OSError as error:
        raise DevError(
            f"{path} cannot be opened ({error.strerror}): remove {path.parent}, or run as its owner."
        ) from None
