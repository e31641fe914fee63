"""For how long this worker has its lease: told by the thread that renews it, asked on the event loop."""

from __future__ import annotations

import math
import time


class Term:
    """By the monotonic clock, and never longer than in PostgreSQL: it counts from the question, not from the answer."""

    def __init__(self) -> None:
        self._since = math.inf
        self._until = 0.0

    @property
    def is_over(self) -> bool:
        """Whether others may have taken the runs of this worker."""
        return time.monotonic() >= self._until

    def covers(self, moment: float) -> bool:
        """Whether the lease has been valid all the time since a moment."""
        # In this order: between the two it may have ended and begun again.
        return not self.is_over and self._since <= moment

    def renew(self, until: float) -> None:
        """The lease is valid until then."""
        if self.is_over:
            self._since = time.monotonic()
        self._until = until

    def end(self) -> None:
        """It is over now, a moment sooner than the clock may say."""
        self._until = 0.0
