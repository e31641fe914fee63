"""``python -m workers`` ends as ``taskloom worker`` does."""

from __future__ import annotations

import os
from tempfile import TemporaryFile

from tests.cli.command import PATIENCE_SECONDS, ROOT
from tests.forked import forked


async def test_a_setting_that_cannot_be_used_is_named_in_a_sentence() -> None:
    with TemporaryFile() as complaints:
        environment = {**os.environ, "TASKLOOM_CONCURRENCY": "many"}
        process = await forked("workers", environment=environment, cwd=ROOT, files=(0, 1, complaints.fileno()))
        code = await process.ended(PATIENCE_SECONDS)
        complaints.seek(0)
        said = complaints.read().decode()
    assert code == 2
    assert said == "A setting in the environment cannot be used. TASKLOOM_CONCURRENCY must be a whole number.\n"
