"""Processes that get a share of a processor each, by control groups: what a second worker brings where there is room.

On a machine whose processors one worker keeps busy together with client and servers, a second one has nothing to work
with. Bounded workers leave room, as several machines would.

The files of control groups: https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files and, for version 1,
https://docs.kernel.org/scheduler/sched-bwc.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARE = 0.4
"""Of a processor, for each worker: with two of them, client and servers have 1.2 of two, about what they need."""
PERIOD = 10_000
"""Microseconds after which a process has its share again: short, so that it does not stand still for long."""
GROUPS = Path("/sys/fs/cgroup")


def is_possible() -> bool:
    """Whether this machine lets us bound processes: Linux, the cpu controller, and the right to make groups."""
    try:
        with _group("probe"):
            return True
    except OSError:
        return False


@contextmanager
def of_a_processor(pid: int, share: float = SHARE) -> Iterator[None]:
    """Bound a process, with all its threads, for a block. Raises ``OSError`` where that is not possible."""
    with _group(str(pid)) as group:
        before = _group_of(pid)
        _join(group, pid)
        try:
            quota = int(share * PERIOD)
            if (group / "cpu.max").exists():
                (group / "cpu.max").write_text(f"{quota} {PERIOD}")
            else:
                (group / "cpu.cfs_period_us").write_text(str(PERIOD))
                (group / "cpu.cfs_quota_us").write_text(str(quota))
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):  # It has ended.
                _join(before, pid)


@contextmanager
def _group(name: str) -> Iterator[Path]:
    """A new control group with the cpu controller, removed at the end."""
    group = _root() / f"taskloom-bench-{name}"
    group.mkdir()
    try:
        if not any((group / file).exists() for file in ("cpu.max", "cpu.cfs_quota_us")):
            raise FileNotFoundError(f"{group} has no cpu controller")
        yield group
    finally:
        group.rmdir()


def _root() -> Path:
    """Where groups of the cpu controller are: it has a hierarchy of its own in version 1."""
    return GROUPS / "cpu" if (GROUPS / "cpu").is_dir() else GROUPS


def _group_of(pid: int) -> Path:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if ("cpu" in controllers.split(",")) is (_root() != GROUPS):
            return _root() / path.lstrip("/")
    raise FileNotFoundError(f"the control group of process {pid}")


def _join(group: Path, pid: int) -> None:
    (group / "cgroup.procs").write_text(str(pid))
