"""From a request to a run that could be stored: every check, in the order in which refusals are promised.

Arguments, definition, size of the input, its schema, the parent, and last the definition's own ``before_trigger``.
Nothing is stored here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import repeat
from operator import itemgetter
from typing import Any
from uuid import UUID

import orjson

from app import clock, states
from app.auth import Principal
from app.batching import Batcher
from app.db import Database, json_text
from app.doorbell import Ring
from app.errors import CodeNotLoaded, TaskDefinitionNotFound, TaskError, TaskRunNotFound
from app.ids import new_id
from app.models import TaskRun
from app.rows import RUN_DEFAULTS, detached
from app.runs import INSERTED, Runs
from app.service import arguments, inputs
from app.service.arguments import Checked
from app.service.before_trigger import ASKED_AT_ONCE, BeforeTrigger
from app.service.calling import Call, call_here
from app.service.known import Known, KnownDefinitions
from app.service.requests import NOWHERE, Provenance, TriggerRequest, UniquePolicy
from app.settings import Settings
from app.states import TaskRunStatus

logger = logging.getLogger("taskloom.service")

NO_TAGS = "{}"
_stored_values: Callable[[Mapping[str, Any]], tuple[Any, ...]] = itemgetter(*INSERTED)


@dataclass(slots=True)
class NewRun:
    """A run that may be stored: the values of ``INSERTED`` as they travel, its tags, and its input, parsed.

    One that ``is_owed`` was promised by something that is stored: no queue is too full for it.
    """

    known: Known
    values: dict[str, Any]
    tags: Sequence[str]
    parsed: Any
    unique_policy: UniquePolicy = UniquePolicy.REJECT
    is_owed: bool = False

    @property
    def id(self) -> UUID:
        """The run's id."""
        return self.values["id"]

    @property
    def ring(self) -> Ring:
        """What its queue is told when it is due."""
        values = self.values
        return Ring(values["id"], 0, values["queue"], values["priority"], values["start_at"])

    @property
    def is_due(self) -> bool:
        """Whether it may be claimed at once."""
        return self.values["status"] is TaskRunStatus.QUEUED

    @property
    def has_key(self) -> bool:
        """Whether another run may be in its way."""
        return bool(self.values["idempotency_key"] or self.values["unique_key"])

    @property
    def keys(self) -> set[tuple[str, str, str]]:
        """What it may share with another run: its definition with its idempotency key, and with its unique key."""
        names = ("idempotency_key", "unique_key")
        return {(self.known.id, name, key) for name in names if (key := self.values[name]) is not None}

    @property
    def key_order(self) -> tuple[str, str, str]:
        """Where the run stands in the one order in which unique keys are taken."""
        return (self.known.id, self.values["idempotency_key"] or "", self.values["unique_key"] or "")

    def wait_until_final(self, run_ids: Collection[UUID]) -> None:
        """Let it be due when its time has come and these runs are final."""
        values = self.values
        values["wait_for"] = "{" + ",".join(map(str, run_ids)) + "}" if run_ids else None
        values["status"] = states.initial(values["start_at"], values["created_at"], waits=bool(run_ids))

    def row(self) -> TaskRun:
        """The run as it is once stored."""
        values = self.values
        known = {
            "input": orjson.loads(values["input"]),
            "state": None if values["state"] is None else orjson.loads(values["state"]),
            "retry": None if values["retry"] is None else orjson.loads(values["retry"]),
            "tags": list(self.tags),
            "status_changed_at": values["created_at"],
            "due_at": values["start_at"],
            "wait_for": None if values["wait_for"] is None else list(map(UUID, values["wait_for"][1:-1].split(","))),
        }
        return detached(TaskRun, {**RUN_DEFAULTS, **values, **known})

    def stored(self) -> tuple[Any, ...]:
        """The values as the insert takes them."""
        return _stored_values(self.values)


def in_key_order(new: Sequence[NewRun]) -> Sequence[NewRun]:
    """The one order in which keys are taken, so that batches that share keys wait instead of deadlocking."""
    if any(run.has_key for run in new):
        return sorted(new, key=lambda run: run.key_order)
    return new


def first_of_each_key(new: Sequence[NewRun]) -> Sequence[NewRun]:
    """Those that share no key with one that comes before them, and so are in nobody's way among themselves."""
    if not any(run.has_key for run in new):
        return new
    taken: set[tuple[str, str, str]] = set()
    first: list[NewRun] = []
    for run in new:
        if taken.isdisjoint(run.keys):
            taken |= run.keys
            first.append(run)
    return first


@dataclass(frozen=True, slots=True)
class Origin:
    """What a rerun takes over from an earlier run besides what a request can say."""

    rerun_of: UUID
    state: Any = None
    iteration: int = 1


class Preparing:
    """Checks triggers and makes runs of them. ``call`` is for whoever is not on the event loop of the task code."""

    def __init__(self, db: Database, settings: Settings, definitions: KnownDefinitions, call: Call = call_here) -> None:
        self._call = call
        self._db = db
        self._settings = settings
        self._definitions = definitions
        self._before_trigger = BeforeTrigger(settings.hook_seconds)
        self._existence: Batcher[UUID, bool] = Batcher(self._exist)

    async def prepare(
        self,
        requests: Sequence[TriggerRequest],
        principal: Principal,
        *,
        allow_private: bool,
        origins: Sequence[Origin | None] | None = None,
        at: datetime | None = None,
    ) -> list[NewRun | TaskError]:
        """A run, or the refusal, for each request. Raises ``ServiceUnavailable``, and what ``call`` raises.

        ``origins`` are as many as the requests; ``at`` is the time of the triggers by the database's clock, by default
        now.
        """
        correction = await self._db.clock.correction() if at is None else at - clock.now()
        now = at or clock.now() + correction
        known = await self._definitions.find([request.definition_id for request in requests])
        by = arguments.author(principal)
        made = await self._call(self._make_each, requests, origins, known, now, correction, by, allow_private)
        made = await self._with_parents(made)
        return await self._asked(made, principal)

    async def _make_each(
        self,
        requests: Sequence[TriggerRequest],
        origins: Sequence[Origin | None] | None,
        known: Mapping[str, Known],
        now: datetime,
        correction: timedelta,
        by: str,
        allow_private: bool,
    ) -> list[NewRun | TaskError]:
        """A coroutine function, because validators are called in it, and that may have to be done elsewhere."""
        made: list[NewRun | TaskError] = []
        for request, origin in zip(requests, origins or repeat(None), strict=False):
            try:
                checked = arguments.check(request, now)
                definition = known.get(str(request.definition_id))
                if definition is None or (definition.is_private and not allow_private):
                    raise TaskDefinitionNotFound(request.definition_id)
                made.append(self._make(request, checked, definition, now, correction, by, origin))
            except TaskError as refusal:
                made.append(refusal)
        return made

    def _make(
        self,
        request: TriggerRequest,
        checked: Checked,
        known: Known,
        now: datetime,
        correction: timedelta,
        by: str,
        origin: Origin | None,
    ) -> NewRun:
        text = inputs.encode(request.input)
        inputs.check_size(text, self._settings.max_input_bytes)
        parsed = known.parse(text)
        values = {
            "id": new_id(correction),
            "definition_id": known.id,
            "name": request.name or known.title,
            "is_named": _has_own_name(request, known),
            "status": states.initial(checked.start_at, now),
            "input": text.decode(),
            "state": None,
            "queue": request.queue or known.queue,
            "priority": known.priority if request.priority is None else request.priority,
            "tags": _array(request.tags) if request.tags else NO_TAGS,
            "timeout_seconds": checked.timeout_seconds or known.timeout_seconds,
            "iteration": 1,
            "attempt": 1,
            "max_iterations": known.max_iterations,
            "max_attempts": request.max_attempts or known.max_attempts,
            "created_at": now,
            "start_at": checked.start_at,
            "expires_at": checked.expires_at,
            "created_by": by,
            "idempotency_key": request.idempotency_key,
            "input_digest": inputs.digest(text),
            "unique_key": request.unique_key,
            "wait_for": None,
            "parent_id": checked.parent_id,
            "rerun_of": None,
            "limit_key": known.limit_key(text),
            "retry": json_text(request.retry.stored()) if request.retry else None,
            **_come_from(request.provenance),
        }
        return _continued(NewRun(known, values, request.tags, parsed, checked.unique_policy), origin)

    # The parent.

    async def _with_parents(self, made: list[NewRun | TaskError]) -> list[NewRun | TaskError]:
        parents = {run.values["parent_id"] for run in made if isinstance(run, NewRun)} - {None}
        if not parents:
            return made
        exist = await asyncio.gather(*(self._existence.submit(parent) for parent in parents))
        unknown = {parent for parent, exists in zip(parents, exist, strict=True) if not exists}
        return [
            TaskRunNotFound(run.values["parent_id"], path=arguments.PARENT)
            if isinstance(run, NewRun) and run.values["parent_id"] in unknown
            else run
            for run in made
        ]

    async def _exist(self, run_ids: list[UUID]) -> list[bool]:
        async with self._db.read() as session:
            existing = await Runs(session).existing(set(run_ids))
        return [run_id in existing for run_id in run_ids]

    # The definition's own word.

    async def _asked(self, made: list[NewRun | TaskError], principal: Principal) -> list[NewRun | TaskError]:
        if all(isinstance(run, TaskError) or not run.known.checks_trigger for run in made):
            return made
        turns = asyncio.Semaphore(ASKED_AT_ONCE)

        async def in_turn(run: NewRun | TaskError) -> NewRun | TaskError:
            async with turns:
                return await self._ask(run, principal)

        return await asyncio.gather(*map(in_turn, made))

    async def _ask(self, run: NewRun | TaskError, principal: Principal) -> NewRun | TaskError:
        if isinstance(run, TaskError) or not run.known.checks_trigger:
            return run
        if run.known.code is None:
            return CodeNotLoaded(run.known.id, run.known.module)
        return await self._call(self._before_trigger.ask, run.known.code, run.parsed, principal) or run


def _has_own_name(request: TriggerRequest, known: Known) -> bool:
    """Whether the name is the run's own; that of a definition or of a saved task is found by way of these."""
    if request.provenance.task_id is not None:
        return request.provenance.is_named
    return request.name not in (None, known.title)


def _come_from(provenance: Provenance) -> dict[str, Any]:
    if provenance is NOWHERE:
        return _FROM_NOWHERE
    return {
        "task_id": provenance.task_id,
        "task_version": provenance.task_version,
        "group_name": provenance.group,
        "owner": provenance.owner,
        "schedule_id": provenance.schedule_id,
        "tick_at": provenance.tick_at,
        "on_behalf_of": provenance.on_behalf_of,
        "batch_id": provenance.batch_id,
    }


_FROM_NOWHERE = _come_from(Provenance())


def _continued(run: NewRun, origin: Origin | None) -> NewRun:
    """The run with what it takes over; it gets the definition's whole budget of iterations from there on."""
    if origin is not None:
        run.values["rerun_of"] = origin.rerun_of
        run.values["iteration"] = origin.iteration
        run.values["max_iterations"] += origin.iteration - 1
        run.values["state"] = None if origin.state is None else json_text(origin.state)
    return run


def _array(texts: Sequence[str]) -> str:
    """Texts as the literal of a PostgreSQL array, because arrays of arrays cannot travel as such."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return '{"' + '","'.join(quoted) + '"}'
