"""The README's tour of saved tasks, run as it is written there."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import TaskService
from app.dev.postgres import EmbeddedPostgres
from app.settings import Settings
from tests.faults.processes import worker_process
from tests.workbench import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(embedded_postgres: EmbeddedPostgres) -> Iterator[Path]:
    """A directory that looks like a checkout with ``make run`` at work, as far as the tour can see."""
    with tempfile.TemporaryDirectory(prefix="tour-", dir="/tmp") as name:
        home = Path(name)
        (home / ".taskloom").mkdir()
        (home / ".taskloom" / "postgres").symlink_to(embedded_postgres.home)
        (home / ".venv").mkdir()
        (home / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        yield home


def script() -> str:
    section = (ROOT / "README.md").read_text().split("## A tour of saved tasks\n", 1)[1].split("\n## ", 1)[0]
    [found] = re.findall(r"^```sh\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    return found


async def test_the_tour_of_saved_tasks_does_what_it_says(settings: Settings, checkout: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment = {**kept, "DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    async with worker_process(settings, TASKLOOM_TASKS=""), TaskService.connect(settings=settings) as tasks:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script()),
            cwd=checkout,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            output = (await process.communicate())[0].decode()
        assert process.returncode == 0, output
        ends = re.findall(r"^(SUCCEEDED|FAILED) ", output, flags=re.MULTILINE)
        assert ends == ["SUCCEEDED", "FAILED", "SUCCEEDED"], output
        # By the misspelled word, and by what failed today; the group of errors has it once.
        assert len(re.findall(r"Sums of nowhere +tour-\d+ +checksum-tree +FAILING", output)) == 2, output
        assert re.search(r"^[0-9a-f]{16} +1 .*NotADirectoryError", output, flags=re.MULTILINE), output
        assert "(STOP_ALL) is COMPLETED" in output
        assert re.search(r"Sums of nowhere +2 +1 +1 +0 +50.0 %", output), output
        assert output.rstrip().endswith("Imported: 2 created.")
        assert len((await tasks.schedules.list()).items) == 1
