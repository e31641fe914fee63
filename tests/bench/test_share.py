"""A bounded process is in a group of its own with its share, and back where it was at the end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.bench import share
from tests.bench.bed import until

POSSIBLE = pytest.mark.skipif(not share.is_possible(), reason="control groups cannot be made here")


def groups_of_this_process() -> str:
    return groups_of(os.getpid())


def groups_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text()


@POSSIBLE
def test_a_process_is_bounded_for_a_block_and_free_again_after_it() -> None:
    before = groups_of_this_process()
    with share.of_a_processor(os.getpid(), 0.5):
        inside = groups_of_this_process()
        [group] = [path for path in share.GROUPS.glob("**/taskloom-bench-*") if str(os.getpid()) in path.name]
        quotas = [(group / file).read_text() for file in ("cpu.max", "cpu.cfs_quota_us") if (group / file).exists()]
    assert f"taskloom-bench-{os.getpid()}" in inside
    assert [quota.split()[0] for quota in quotas] == ["5000"]
    assert groups_of_this_process() == before
    assert not group.exists()


@POSSIBLE
async def test_each_process_has_a_share_of_its_own_those_started_later_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "LOOK_SECONDS", 0.01)
    before = groups_of_this_process()
    async with share.for_each_process((), 0.5):
        later = await asyncio.create_subprocess_exec("sleep", "60")
        await until(lambda: _is_in(later.pid, f"taskloom-bench-{later.pid}"))
        assert f"taskloom-bench-{os.getpid()}" in groups_of_this_process()
    after = groups_of(later.pid)
    later.kill()
    await later.wait()
    assert (groups_of_this_process(), after) == (before, before)
    assert not list(share.GROUPS.glob("**/taskloom-bench-*"))


async def _is_in(pid: int, group: str) -> bool:
    return group in groups_of(pid)


def test_where_no_groups_can_be_made_that_is_said_and_nothing_is_bounded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = groups_of_this_process() if Path("/proc/self/cgroup").exists() else ""
    monkeypatch.setattr(share, "GROUPS", tmp_path)
    assert not share.is_possible()
    with pytest.raises(OSError, match="no cpu controller"), share.of_a_processor(os.getpid()):
        pass
    assert list(tmp_path.iterdir()) == []
    assert before == (groups_of_this_process() if before else "")
