"""How many runs a worker executes at once."""

from __future__ import annotations

from uuid import uuid4

from app import TaskService
from app.settings import Settings
from tests.workbench import until, working
from tests.workers.definitions import reached

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
