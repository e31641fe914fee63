"""Ctrl-C while a process loads its modules: it is kept back until they are loaded, and ends the process then.

Otherwise it would end in the midst of somebody's module: with a traceback, or with a crash where the module is C.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager

INTERRUPTED = 130
"""The exit code of who was ended by Ctrl-C, as a shell has it."""


def keep_back() -> None:
    """Let no Ctrl-C in from now on: also not where this process becomes another program, until that lets it in."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


@contextmanager
def kept_back() -> Generator[None]:
    """Let no Ctrl-C in while the block lasts; one that came meanwhile is a ``KeyboardInterrupt`` at its end."""
    keep_back()
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
