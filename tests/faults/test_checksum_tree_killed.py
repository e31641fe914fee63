"""The shipped checksum-tree, whose worker is killed in the middle: the manifest is right all the same."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from app import TaskService
from app.models import TaskRun
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.processes import holder, two_workers
from tests.workbench import lines, until

FILES = 3000


async def test_another_worker_takes_over_and_sha256sum_accepts_the_manifest(
    settings: Settings, tasks: TaskService, tmp_path: Path
) -> None:
    root = tmp_path / "tree"
    for n in range(FILES):
        folder = root / f"{n % 30:02}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file {n}").write_bytes(b"%d\n" % n * (n % 97))
    manifest = tmp_path / "SHA256SUMS"
    async with two_workers(settings) as workers:
        run = await tasks.trigger(
            "checksum-tree",
            input={"root": str(root), "manifest": str(manifest), "slice_files": 200, "pause_seconds": 0},
        )
        await holder(await until_some_are_hashed(tasks, run), workers).kill()
        run = await tasks.wait(run.id, timeout=timedelta(seconds=45))
    assert run.status == TaskRunStatus.SUCCEEDED, run.error
    assert run.output["files"] == FILES
    await assert_sha256sum_accepts(manifest, root)
    numbers = [line.sequence async for line in tasks.logs(run.id)]
    assert numbers == list(range(1, run.log_count + 1))
    slices = [message for message in await lines(tasks, run.id) if message.startswith("Slice")]
    assert len(slices) == len(set(slices))


async def until_some_are_hashed(tasks: TaskService, run: TaskRun) -> TaskRun:
    """The run, while a worker holds it, once three iterations are done."""

    async def held() -> TaskRun | None:
        found = await tasks.get(run.id)
        assert found.status not in (TaskRunStatus.SUCCEEDED, TaskRunStatus.FAILED), found.error
        return found if found.iteration > 3 and found.status == TaskRunStatus.RUNNING else None

    found = await until(held)
    assert found is not None
    return found


async def assert_sha256sum_accepts(manifest: Path, root: Path) -> None:
    check = await asyncio.create_subprocess_exec(
        "sha256sum", "-c", "--quiet", "--strict", str(manifest), cwd=root, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await check.communicate()
    assert check.returncode == 0, complaint.decode()
