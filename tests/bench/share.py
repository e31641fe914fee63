"""Processes that have a share of a processor each: what a second worker brings where every process has one of its own.

On a machine whose processors one worker keeps busy together with client and servers, a second one has nothing to work
with. Where each process gets a quarter of a processor, two have room for eight of them: the machine is one of eight
processors of a quarter of the pace.

The files of control groups: https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files and, for version 1,
https://docs.kernel.org/scheduler/sched-bwc.html
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from tests.bench import processor_time

SHARE = 0.25
"""Of a processor, for each process: two workers, with client and servers beside them, keep 1.3 of two busy then."""
PERIOD = 10_000
"""Microseconds after which a process has its share again: short, so that it does not stand still for long."""
GROUPS = Path("/sys/fs/cgroup")
LOOK_SECONDS = 0.2
"""After so long a process that was started meanwhile has a share of its own too: PostgreSQL starts some."""


def is_possible() -> bool:
    """Whether this machine lets us bound processes: Linux, the cpu controller, and the right to make groups."""
    try:
        with _group("probe"):
            return True
    except OSError:
        return False


@asynccontextmanager
async def for_each_process(pids: Collection[int], share: float = SHARE) -> AsyncGenerator[None]:
    """Bound this process, those given, and all that they have started or start, for a block: each for itself.

    Raises ``OSError`` where that is not possible.
    """
    bounded: set[int] = set()
    with ExitStack() as bounds:

        def bind() -> None:
            for pid in processor_time.with_children({os.getpid(), *pids}) - bounded:
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # It has just ended.
                    bounds.enter_context(of_a_processor(pid, share))
                bounded.add(pid)

        async def keep() -> None:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                bind()

        bind()
        keeping = asyncio.create_task(keep())
        try:
            yield
        finally:
            keeping.cancel()


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
            # With what it has started meanwhile.
            for member in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):  # It has ended.
                    _join(before, int(member))


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
