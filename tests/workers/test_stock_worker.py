"""arq's stock command with Taskloom's settings: what it cannot do, it says."""

from __future__ import annotations

import asyncio

from app.settings import Settings
from tests.faults.processes import ROOT, STOCK, environment


async def test_a_stock_worker_is_refused_several_queues_instead_of_serving_the_first(settings: Settings) -> None:
    process = await asyncio.create_subprocess_exec(
        *STOCK, env=environment(settings, TASKLOOM_QUEUES="mails,reports"), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode != 0
    assert "serves one queue, and TASKLOOM_QUEUES names 2: mails, reports." in said.decode()
