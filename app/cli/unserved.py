"""A run that waits for a worker of which there is none: who looks at it or waits for it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.terminal import note

if TYPE_CHECKING:
    from app.models import TaskRun
    from app.service import TaskService


async def say_if_unserved(tasks: TaskService, run: TaskRun) -> None:
    """Say that a run is due and no live worker may take it, and what to do."""
    if run.status != "QUEUED":
        return
    for worker in await tasks.workers():
        if not worker.is_draining and run.queue in worker.queues and run.definition_id in worker.definition_ids:
            return
    note(
        f"No live worker serves the queue '{run.queue}' and has the code of '{run.definition_id}': the run waits until "
        f"one does. Start it with `taskloom worker --queue {run.queue}`, with its module in TASKLOOM_TASKS, or see "
        "`taskloom doctor`."
    )
