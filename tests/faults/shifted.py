"""A process whose clock on the wall is wrong: ``python -m tests.faults.shifted <seconds> <module> [arguments]``.

``time.time``, ``datetime.now`` and the times in UUIDs are off by the seconds given, for all that is imported after; the
monotonic clock is right, as it is on a machine whose wall clock is wrong.
"""

from __future__ import annotations

import datetime
import runpy
import sys
import time

import uuid_utils

REAL_DATETIME = datetime.datetime
REAL_TIME = time.time
REAL_UUID7 = uuid_utils.uuid7


def shift(seconds: float) -> None:
    """Put the wall clock wrong by so many seconds."""
    delta = datetime.timedelta(seconds=seconds)

    class Kind(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, REAL_DATETIME)

    class Shifted(REAL_DATETIME, metaclass=Kind):
        def __new__(cls, *args, **changes):
            return REAL_DATETIME(*args, **changes)

        @classmethod
        def now(cls, tz=None):
            return REAL_DATETIME.now(tz) + delta

        @classmethod
        def utcnow(cls):
            return cls.now(datetime.UTC).replace(tzinfo=None)

    datetime.datetime = Shifted
    time.time = lambda: REAL_TIME() + seconds
    time.time_ns = lambda: int(time.time() * 1e9)
    # The first 48 of the 128 bits are milliseconds.
    uuid_utils.uuid7 = lambda: uuid_utils.UUID(int=REAL_UUID7().int + (int(seconds * 1000) << 80))


if __name__ == "__main__":
    shift(float(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
