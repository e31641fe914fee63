"""How much processor time processes use: what stays comparable on a machine that does other work meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path

OURSELVES = "client"


def used(pids: Mapping[str, int]) -> dict[str, float]:
    """Seconds of processor time so far: of this process, called the client, and of others with all their children.

    Only Linux tells it of others; elsewhere there is the client alone.
    """
    tree = _processes()
    return {OURSELVES: time.process_time()} | {name: _of(pid, tree) for name, pid in pids.items() if pid in tree}


def since(before: Mapping[str, float], pids: Mapping[str, int], count: int) -> dict[str, float]:
    """Microseconds for each of ``count`` things since ``used`` told ``before``, by the name of the process."""
    return {name: 1e6 * (now - before[name]) / count for name, now in used(pids).items() if name in before}


def with_children(pids: Collection[int]) -> set[int]:
    """Those of the processes that there are, with all that they have started, and what those have."""
    tree, found = _processes(), set[int]()
    waiting = [pid for pid in pids if pid in tree]
    while waiting:
        found.add(pid := waiting.pop())
        waiting += [child for child, (parent, _) in tree.items() if parent == pid and child not in found]
    return found


def _of(pid: int, tree: Mapping[int, tuple[int, float]]) -> float:
    """A process with all that it has started: the live ones, and those that ended and were waited for."""
    return tree[pid][1] + sum(_of(child, tree) for child, (parent, _) in tree.items() if parent == pid)


def _processes() -> dict[int, tuple[int, float]]:
    """Of each process its parent and its seconds, those of its children that have ended included."""
    found: dict[int, tuple[int, float]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name, which is in brackets and may hold anything: state, parent, ...
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # It has just ended.
            continue
        found[int(path.parent.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK"))
    return found
