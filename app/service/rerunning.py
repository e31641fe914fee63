"""Reruns: a new run with what an earlier one was triggered with, from the start or from its last saved state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.auth import Principal
from app.errors import TaskError, TaskRunNotFinal
from app.kinds import one_of
from app.models import TaskRun
from app.retry import RetryDelays
from app.service.preparing import Origin
from app.service.reading import Reading
from app.service.requests import UNSET, Provenance, RerunFrom, Triggered, TriggerRequest, Unset
from app.service.triggering import Triggering
from app.states import BARREN, FINAL


class Rerunning:
    """Triggers runs again."""

    def __init__(self, reading: Reading, triggering: Triggering) -> None:
        self._reading = reading
        self._triggering = triggering

    async def rerun(
        self, run_id: UUID | str, edited: Any | Unset, start: RerunFrom, principal: Principal, *, allow_private: bool
    ) -> Triggered:
        """A new run like the earlier one, which stays as it is."""
        start = one_of(start, RerunFrom, "from", ("input", "from"))
        earlier = await self._reading.get(run_id)
        if start is RerunFrom.LAST_STATE and earlier.status not in FINAL:
            raise TaskRunNotFinal(earlier.id, earlier.status)
        value = earlier.input if edited is UNSET else edited
        request = again(earlier, value, await self._parent(earlier))
        origin = origin_of(earlier, start)
        return await self._triggering.submit(request, principal, allow_private=allow_private, origin=origin)

    async def rerun_many(
        self, earlier: Sequence[TaskRun], start: RerunFrom, principal: Principal, *, key: str, allow_private: bool
    ) -> list[Triggered | TaskError]:
        """A new run, or the refusal, for each; asked again with the same key, the same runs."""
        final = [run for run in earlier if start is RerunFrom.START or run.status in FINAL]
        parents = await self._reading.find({run.parent_id for run in final if run.parent_id is not None}, ())
        requests = [
            replace(
                again(run, run.input, run.parent_id if run.parent_id in parents else None),
                idempotency_key=f"{key}/{run.id}",
            )
            for run in final
        ]
        origins = [origin_of(run, start) for run in final]
        answers = iter(
            await self._triggering.submit_many(requests, principal, allow_private=allow_private, origins=origins)
        )
        ready = {run.id for run in final}
        return [next(answers) if run.id in ready else TaskRunNotFinal(run.id, run.status) for run in earlier]

    async def _parent(self, run: TaskRun) -> UUID | None:
        """The earlier run's parent, unless it was purged meanwhile, or aborted and so gets no more children."""
        if run.parent_id is None:
            return None
        parent = (await self._reading.find([run.parent_id], ("status",))).get(run.parent_id)
        return run.parent_id if parent and parent.status not in BARREN else None


def again(run: TaskRun, value: Any, parent_id: UUID | None) -> TriggerRequest:
    """The request that led to a run, without its times and keys, which were for once."""
    return TriggerRequest(
        definition_id=run.definition_id,
        input=value,
        name=run.name,
        priority=run.priority,
        tags=run.tags,
        queue=run.queue,
        parent_id=parent_id,
        timeout=timedelta(seconds=run.timeout_seconds) if run.timeout_seconds else None,
        max_attempts=run.max_attempts,
        retry=RetryDelays(**run.retry) if run.retry else None,
        provenance=Provenance(
            task_id=run.task_id,
            task_version=run.task_version,
            group=run.group_name,
            owner=run.owner,
            is_named=run.is_named,
        ),
    )


def origin_of(run: TaskRun, start: RerunFrom) -> Origin:
    """What a rerun takes over from a run besides the request."""
    if start is RerunFrom.START:
        return Origin(rerun_of=run.id)
    return Origin(rerun_of=run.id, state=run.state, iteration=run.iteration)
