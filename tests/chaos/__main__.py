"""Load, random faults, then the check of everything that the database saw. Exit code 1 when an invariant was broken."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

import uvloop

from app import TaskService
from app.errors import ServiceUnavailable
from tests.chaos import cluster, definitions, disorder, history
from tests.chaos.checker import ENDED, Violation, check, summary
from tests.chaos.disorder import Disorder
from tests.chaos.history import RunHistory
from tests.chaos.load import Load, live_runs
from tests.chaos.worker import WITHOUT

assert definitions
SETTLING_SECONDS = 90.0
SHOWN = 20


async def main(seed: int, seconds: float, *, without: Sequence[str], log: Path | None) -> int:
    """One run, of workers with some parts taken off; the number of violations."""
    taken_off = "".join(f", without {part}" for part in without)
    print(f"seed {seed}, {seconds:g} s, {cluster.WORKERS} workers{taken_off}", flush=True)
    async with cluster.made(**{WITHOUT: ",".join(without)}) as made:
        faults = Disorder(made, seed)
        async with TaskService.connect(settings=made.settings) as tasks:
            load = Load(tasks, seed)
            loading = asyncio.create_task(load.go_on())
            await faults.go_on(seconds)
            await faults.repair()
            load.stop()
            await loading
            settling = await _settle(tasks)
        leaving = await disorder.leave(made)
        runs = await history.load(made.postgres.url)
        if log is not None:
            shutil.copyfile(made.home / "workers.log", log)
    violations = check(runs, load.told, cluster.MAX_INTERRUPTIONS)
    violations += [Violation("I11", None, f"a worker ended by itself with {code}") for code in faults.deserters]
    _say("faults", faults.done)
    _say("exit codes under way", faults.exit_codes)
    _say("exit codes in the end", leaving)
    print(f"  all final after {settling:.1f} s")
    _report(runs, load, violations)
    return len(violations)


async def _settle(tasks: TaskService) -> float:
    """Wait until all runs are final, up to a limit; how long it took."""
    began = time.monotonic()
    while time.monotonic() - began < SETTLING_SECONDS:
        try:
            if await live_runs(tasks) == 0:
                break
        except ServiceUnavailable:
            pass
        await asyncio.sleep(0.1)
    return time.monotonic() - began


def _report(runs: dict[UUID, RunHistory], load: Load, violations: list[Violation]) -> None:
    told = load.told
    outcomes = Counter(attempt["outcome"] for run in runs.values() for attempt in run.iterations)
    triggers = sum(map(len, told.runs.values()))
    print(f"  acknowledged: {len(told.runs)} keys, {triggers} triggers, {len(told.aborted)} aborts")
    _say("final by status", Counter(run.row["status"] for run in runs.values() if run.row.get("status") in ENDED))
    print(f"  runs: {len(runs)}, with children; changes: {sum(len(run.changes) for run in runs.values())}")
    _say(f"attempts: {outcomes.total()}", outcomes)
    print(f"  interruptions: {outcomes['LOST'] + outcomes['INTERRUPTED']}")
    print(f"  log lines: {sum(len(run.lines) for run in runs.values())}")
    for violation in violations[:SHOWN]:
        print(f"    {violation.invariant} {violation.run_id} {violation.what}"[:300])
    _say(f"violations: {len(violations)}", summary(violations))


def _say(what: str, counts: Mapping[str, int] | Mapping[int, int]) -> None:
    listed = ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
    print(f"  {what}{': ' if ':' not in what else '; '}{listed or 'none'}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what the faults and the load are drawn from (1)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long there are faults (60)")
    part = {"dest": "without", "action": "append_const", "default": []}
    parser.add_argument("--no-fencing", const="fencing", help="take the fencing off: violations must be found", **part)
    parser.add_argument("--no-attempts", const="attempts", help="store no attempts: a violation in every run", **part)
    parser.add_argument("--log", type=Path, help="where to keep what the workers said")
    chosen = parser.parse_args()
    found = uvloop.run(main(chosen.seed, chosen.seconds, without=chosen.without, log=chosen.log))
    sys.exit(1 if found else 0)
