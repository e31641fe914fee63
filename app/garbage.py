"""Python's garbage collector, as a process wants it that has much in flight and leaves hardly any cycles behind."""

from __future__ import annotations

import gc

WORKER_THRESHOLD = 50_000
"""New objects between two looks for garbage; Python's own is 700."""
SERVER_THRESHOLD = 5_000
"""The same for who answers people: lists leave a thousand objects in cycles, and to look through 50,000 takes 25 ms."""


def look_seldom(threshold: int) -> None:
    """Look through new objects for garbage only after so many that were not freed by themselves."""
    gc.set_threshold(threshold)


def leave_alone_what_stays(threshold: int) -> None:
    """Never look again through what was loaded so far, and seldom through the rest; call it once a process is set up.

    A thousand runs in flight are some 100,000 objects, none of them garbage: to look through them every 700 new ones
    took a third of a worker's time.

    Args:
        threshold: after so many new objects that were not freed by themselves there is a look through them.
    """
    gc.collect()
    gc.freeze()
    look_seldom(threshold)
