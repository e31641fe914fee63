"""A process that counts final runs in small batches until it is killed: ``python -m tests.faults.count_runs URL``."""

from __future__ import annotations

import asyncio
import sys

from app.db import Database
from app.rollups import Rollups


async def main(url: str) -> None:
    """Count for ever."""
    rollups = Rollups(Database(url), 25, behind_seconds=0.0)
    while True:
        await rollups.catch_up()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
