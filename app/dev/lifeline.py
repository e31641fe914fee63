"""What a child process does before it becomes a program: take on its account, and tie its life to its parent's."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.dev.account import Account

_PR_SET_PDEATHSIG = 1
# Loaded here, not in the child: between fork and exec hardly anything is safe to do.
_libc: ctypes.CDLL | None = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def tied_to_parent(death_signal: signal.Signals, account: Account | None = None) -> Callable[[], None]:
    """A ``preexec_fn`` after which the child runs as ``account`` and gets ``death_signal`` when its parent dies.

    The kernel sends the signal when the *thread* that forked ends, so processes are started from the main thread.
    Systems other than Linux cannot do this; there a child that was left over is ended at the next start.
    """
    parent = os.getpid()

    def prepare() -> None:
        os.umask(0o077)
        if account is not None:
            os.setgroups([])
            os.setgid(account.gid)
            os.setuid(account.uid)
        # Last, because a change of user clears it.
        _die_with(parent, death_signal)

    return prepare


def _die_with(parent: int, death_signal: signal.Signals) -> None:
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
