"""A bounded process is in a group of its own with its share, and back where it was at the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bench import share

POSSIBLE = pytest.mark.skipif(not share.is_possible(), reason="control groups cannot be made here")


def groups_of_this_process() -> str:
    return Path("/proc/self/cgroup").read_text()


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
