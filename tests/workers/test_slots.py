"""How many runs a worker executes at once."""

from __future__ import annotations

from uuid import UUID, uuid4

from app import TaskService
from app.settings import Settings
from app.states import TaskRunStatus
from tests.workbench import connected, until, until_status, working
from tests.workers.definitions import allowed, reached

QUEUES = ("slots-a", "slots-b", "slots-c")


async def test_a_worker_with_one_slot_takes_one_run_though_each_of_its_queues_has_one(
    tasks: TaskService, settings: Settings
) -> None:
    name = str(uuid4())
    for queue in QUEUES:
        await tasks.trigger("test-checkpoints", input={"name": name}, name=name, queue=queue)
    await tasks.finish_telling()
    ended = 0
    async with working(settings, queues=QUEUES, concurrency=1) as worker:
        while ended < len(QUEUES):
            # Runs that are taken together are claimed by one statement, so that all of them are held at once.
            held = await until(lambda: tuple(worker.engine.runner.running))
            assert len(held) == 1
            await reached[name].wait()
            await tasks.abort(held[0])
            await until(lambda run_id=held[0]: run_id not in worker.engine.runner.running)
            ended += 1


async def test_a_run_gives_its_slot_back_when_its_code_has_ended_though_it_is_not_settled_yet(
    tasks: TaskService, settings: Settings
) -> None:
    names = [str(uuid4()) for _ in range(3)]
    async with working(settings, concurrency=1) as worker, connected(settings) as other:
        runner = worker.engine.runner
        run_ids: list[UUID] = []
        async with other.transaction():
            for name in names:
                run_ids.append((await tasks.trigger("test-deaf", input={"name": name})).id)
                if len(run_ids) < len(names):
                    await until(reached[name].is_set)
                    # Its settlement has to wait for this lock, and that of the next one for the same flush.
                    await other.execute("SELECT id FROM task_runs WHERE id = $1 FOR UPDATE", run_ids[-1])
                    allowed[name].set()
            await until(lambda: runner.executing == 0)
            # Two are held, as many as there may be, and so the third one is left to other workers.
            assert tuple(runner.running) == tuple(run_ids[:2])
            assert runner.free == 0
            assert not reached[names[2]].is_set()
        allowed[names[2]].set()
        for run_id in run_ids:
            await until_status(tasks, run_id, TaskRunStatus.SUCCEEDED)
