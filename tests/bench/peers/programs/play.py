"""What the peers' programs share: a job that only says that it was executed, and a client that counts and times jobs.

Runs in the environment of a peer, so it imports the standard library only.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

DATABASE_URL = os.environ["DATABASE_URL"]
REDIS_URL = os.environ["REDIS_URL"]
RECORD = Path(os.environ["BENCH_RECORD"])
WARM_UP = 20
PATIENCE_SECONDS = 60.0
# Long and uneven, so that a peer that polls is met at any moment between two of its polls.
PAUSE_SECONDS = (0.02, 0.52)

Enqueue = Callable[[int], Awaitable[None]]

_file = os.open(RECORD, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)


def executed() -> None:
    """All that a job does: one write of 8 bytes that says when it was executed, by whatever thread or process."""
    os.write(_file, struct.pack("d", time.time()))


async def by_hundreds(count: int, enqueue_one: Callable[[], Awaitable[object]]) -> None:
    """Enqueue so many, a hundred at once."""
    for begun in range(0, count, 100):
        await asyncio.gather(*(enqueue_one() for _ in range(min(100, count - begun))))


async def measure(enqueue: Enqueue) -> None:
    """``PROGRAM JOBS STARTS``: warm up, say "begin", print seconds for all jobs, then milliseconds of each start."""
    jobs, starts = int(sys.argv[2]), int(sys.argv[3])
    await enqueue(WARM_UP)
    await _until_executed(WARM_UP)
    print("begin", flush=True)
    begun, processor = time.time(), time.process_time()
    await enqueue(jobs)
    enqueued = time.time()
    times = await _until_executed(WARM_UP + jobs)
    processor = time.process_time() - processor
    print(json.dumps({"seconds": max(times) - begun, "enqueued": enqueued - begun, "client": processor}), flush=True)
    print(json.dumps([await _start(enqueue) for _ in range(starts)]), flush=True)


async def _start(enqueue: Enqueue) -> float:
    """Milliseconds from enqueueing one job on an idle system to its first line."""
    await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
    # Counted anew, because some peers execute a job twice now and then.
    executed_before = os.fstat(_file).st_size // 8
    sent = time.time()
    await enqueue(1)
    return 1000 * (max(await _until_executed(executed_before + 1)) - sent)


async def _until_executed(count: int) -> list[float]:
    """When each job was executed, as soon as there are so many; fails when there is no progress for a minute."""
    seen, since = -1, time.monotonic()
    while (size := os.fstat(_file).st_size // 8) < count:
        if size != seen:
            seen, since = size, time.monotonic()
        if time.monotonic() - since > PATIENCE_SECONDS:
            sys.exit(f"only {size} of {count} jobs were executed")
        await asyncio.sleep(0.005)
    return _moments(count)


def _moments(count: int) -> list[float]:
    return [moment for (moment,) in struct.iter_unpack("d", RECORD.read_bytes()[: 8 * count])]
