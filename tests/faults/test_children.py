"""Processes that runs start: dead before their run is final, and no danger to their worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from app import TaskService, states
from app.models import TaskRun
from app.settings import Settings
from app.states import TaskRunStatus
from tests.faults.processes import WorkerProcess, holder, two_workers, worker_process
from tests.workbench import lines, until, until_status
from workers import processes
from workers.forks import EXIT_CODE
from workers.held import HeldRun, Stop
from workers.processes import Leashes
from workers.term import Term

SOON = timedelta(seconds=60)
CHILDREN = {"TASKLOOM_TASKS": "tests.faults.definitions,tests.faults.children", "TASKLOOM_ABORT_GRACE_SECONDS": "1"}


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[WorkerProcess]:
    async with worker_process(settings, **CHILDREN) as process:
        yield process


async def numbers(folder: Path) -> list[int]:
    """The processes that told their numbers, as soon as some have."""
    written = await until(lambda: [path for path in folder.iterdir() if path.suffix not in (".new", "")])
    return [int(word) for path in written for word in path.read_text().split()]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and state(pid) != "Z"]


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.parametrize("definition_id", ["children-family", "children-family-plain"])
async def test_all_processes_of_a_run_are_dead_when_it_is_final(
    worker: WorkerProcess, tasks: TaskService, tmp_path: Path, definition_id: str
) -> None:
    """Deaf to SIGTERM, and after they have lived for more than two leases."""
    runs = {end: await family(tasks, definition_id, tmp_path / end) for end in ("abort", "force", "timeout")}
    pids = {end: await numbers(tmp_path / end) for end in runs}
    before = await tasks.trigger("fault-steps", input={"steps": 34, "pause": 0.1})
    await tasks.wait(before.id, timeout=SOON)
    assert [len(alive(pids[end])) for end in runs] == [2, 2, 2]
    await tasks.abort(runs["abort"].id)
    await tasks.abort(runs["force"].id, force=True)
    for end, run in runs.items():
        status = (await tasks.wait(run.id, timeout=SOON)).status
        assert (end, alive(pids[end])) == (end, [])
        assert status == (TaskRunStatus.FAILED if end == "timeout" else TaskRunStatus.ABORTED)


async def family(tasks: TaskService, definition_id: str, folder: Path) -> TaskRun:
    folder.mkdir()  # noqa: ASYNC240
    timeout = timedelta(seconds=6) if folder.name == "timeout" else None
    return await tasks.trigger(definition_id, input={"path": str(folder / "n")}, timeout=timeout)


async def test_what_is_left_of_its_processes_ends_with_a_run_that_returns(
    worker: WorkerProcess, tasks: TaskService, tmp_path: Path
) -> None:
    for stay in (True, False):
        folder = tmp_path / str(stay)
        folder.mkdir()
        numbered = {"path": str(folder / "n"), "stay": stay}
        run = await tasks.trigger("children-left", input=numbered, timeout=timedelta(seconds=2.5))
        run = await tasks.wait(run.id, timeout=SOON)
        assert (run.status, run.output) == (TaskRunStatus.SUCCEEDED, "returned")
        assert alive(await numbers(folder)) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
async def test_processes_of_a_worker_that_is_killed_frozen_or_stopped_are_dead_before_another_one_goes_on(
    settings: Settings, tasks: TaskService, tmp_path: Path, number: signal.Signals
) -> None:
    async with two_workers(settings, **CHILDREN, TASKLOOM_DRAIN_SECONDS="0.2") as workers:
        run = await tasks.trigger("children-family", input={"path": str(tmp_path / "n")})
        first = await numbers(tmp_path)
        run = await until_status(tasks, run.id, TaskRunStatus.RUNNING)
        holder(run, workers).send(number)
        await until(lambda: len(list(tmp_path.glob("n.*[0-9]"))) == 2)
        assert alive(first) == []
        await tasks.abort(run.id, force=True)
        await tasks.wait(run.id, timeout=SOON)
        assert alive(await numbers(tmp_path)) == []


async def test_a_process_that_is_killed_with_the_lease_is_no_failure_of_its_run() -> None:
    with pytest.raises(Stop, match="shuts down"):
        await running(held_run(), "300", lease=0.2)


async def test_a_process_that_a_thread_is_just_starting_when_its_run_ends_is_dead_before_that() -> None:
    for steps in range(6):
        held, seconds = held_run(), f"300.{uuid4().int}"
        starting = asyncio.create_task(running(held, seconds, lease=60.0))
        for _ in range(steps):
            await asyncio.sleep(0)
        await held.end_children()
        held.settle(states.interrupt())
        left = processes_with(seconds)
        with pytest.raises(Stop):
            await starting
        assert (steps, left) == (steps, [])


def held_run() -> HeldRun:
    """A run as a claim brings it."""
    numbers = dict.fromkeys(("claim_no", "iteration", "attempt", "write_no", "log_count"), 1)
    return HeldRun({"id": uuid4(), **numbers, "timeout_seconds": None})


async def running(held: HeldRun, seconds: str, *, lease: float) -> object:
    """A process of a run, which sleeps, under a lease of so many seconds."""
    leashes = Leashes(Term())
    for renew in (leashes.term.renew, leashes.renew):
        renew(time.monotonic() + lease)
    return await processes.run(held, leashes, ("sleep", seconds), cwd=None, env=None, input=None, check=True, limit=1)


def processes_with(argument: str) -> list[Path]:
    """The processes of this machine that have such an argument."""
    found: list[Path] = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [command] if argument.encode() in command.read_bytes() else []
    return found


@pytest.mark.parametrize("force", [False, True], ids=["abort", "force"])
async def test_a_process_is_dead_before_its_run_is_final_though_another_run_blocks_their_event_loop(
    settings: Settings, tasks: TaskService, tmp_path: Path, force: bool
) -> None:
    modules = f"{CHILDREN['TASKLOOM_TASKS']},tests.faults.stalled"
    async with worker_process(settings, **CHILDREN | {"TASKLOOM_TASKS": modules}):
        run = await family(tasks, "children-family", tmp_path / "family")
        pids = await numbers(tmp_path / "family")
        await tasks.trigger("stalled-block", input={"place": str(tmp_path)})
        await until(lambda: (tmp_path / "notes").exists())
        await tasks.abort(run.id, force=force)
        run = await tasks.wait(run.id, timeout=SOON)
        assert (run.status, alive(pids)) == (TaskRunStatus.ABORTED, [])
        assert not (tmp_path / "go on").exists(), "the event loop is not blocked any more"


async def test_a_process_is_given_input_and_gives_output_and_exit_code(
    worker: WorkerProcess, tasks: TaskService
) -> None:
    run = await tasks.wait((await tasks.trigger("children-talk")).id, timeout=SOON)
    assert run.output == {
        "echo": "hello",
        "much": "xxxxxxend\n",
        "codes": [3, -9, 127],
        "where": "/\ngiven\n",
        "missing": "no-such-program: No such file or directory\n",
        "unwanted": "",
    }
    run = await tasks.wait((await tasks.trigger("children-fail")).id, timeout=SOON)
    assert run.status == TaskRunStatus.FAILED
    assert run.error
    assert run.error["type"] == "CommandFailed"
    assert run.error["message"].endswith("returned non-zero exit status 3. what is wrong")


async def test_a_forked_process_does_its_worker_no_harm(worker: WorkerProcess, tasks: TaskService) -> None:
    """It neither ends it by a signal, nor writes on its connections, nor settles its run."""
    bystander = await tasks.trigger("fault-steps", input={"steps": 1_000_000})
    await until_status(tasks, bystander.id, TaskRunStatus.RUNNING)
    forks = dict.fromkeys(("children-fork", "children-fork-yield", "children-fork-plain"), EXIT_CODE)
    for definition_id, output in {"children-multiprocessing": [-signal.SIGTERM, 5], **forks}.items():
        run = await ended(tasks, definition_id)
        assert (run.status, run.output, run.claim_no) == (TaskRunStatus.SUCCEEDED, output, 1), definition_id
        assert (run.state, await lines(tasks, run.id)) == (None, [])
    assert (await ended(tasks, "children-preexec")).output == "fine\n"
    await tasks.abort(bystander.id)
    bystander = await tasks.wait(bystander.id, timeout=SOON)
    assert (bystander.status, bystander.claim_no) == (TaskRunStatus.ABORTED, 1)
    os.kill(worker.pid, 0)


async def ended(tasks: TaskService, definition_id: str) -> TaskRun:
    return await tasks.wait((await tasks.trigger(definition_id)).id, timeout=SOON)
