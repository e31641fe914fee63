"""Which runs changed, for all who follow all runs: heard over Redis, and looked for by one look for all of them.

A follower is told of ids and reads the runs by itself, because what fits is its own affair; while nothing changes it
costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement

from app.db import Database
from app.errors import FellBehind, ServiceClosed, ServiceUnavailable, TaskError
from app.events import Events, Subscription
from app.models import TaskRun
from app.runs import Runs
from app.states import FINAL, TaskRunStatus

LOOK_SECONDS = 1.0
REMEMBERED_RUNS = 20_000
OVERLAP = timedelta(seconds=10)
MOST_BEHIND = 200_000
"""So many changed runs wait for a follower to take them; who takes a little now and then would have them pile up."""
SETTLED = FINAL | {TaskRunStatus.QUEUED}
MARKS = ("status", "status_reason", "claim_no", "write_no", "abort_requested_at", "abort_forced")
"""What differs between two states of a run: each write of a worker counts ``write_no`` up."""
LOOKED_AT = (*MARKS, "error_group")
"""That, and what comes later to a run and may make it fit."""
HEARD_OF = (None,)
"""How a run stands that is known to have changed, and no more."""

Row = TypeVar("Row", bound=TaskRun | Any)

logger = logging.getLogger("taskloom.service")


class News:
    """Remembers how runs stood when they were last noted; of the most recent ones, so that it stays small."""

    def __init__(self, marks: Sequence[str] = MARKS) -> None:
        self._mark = attrgetter(*marks)
        self._seen: OrderedDict[UUID, Any] = OrderedDict()

    def on_their_way(self) -> list[UUID]:
        """The runs that may come to be QUEUED, or be so again."""
        return [id for id, (status, *_) in self._seen.items() if status not in SETTLED]

    def knows(self, run: TaskRun | Any) -> bool:
        """Whether the run was noted as it stands."""
        return self._seen.get(run.id) == self._mark(run)

    def note(self, runs: Sequence[Row]) -> list[Row]:
        """Those of the runs that were not known as they stand; from now on they are."""
        new = [run for run in runs if not self.knows(run)]
        self._remember([(run.id, self._mark(run)) for run in runs])
        return new

    def expect(self, run_ids: Collection[UUID]) -> None:
        """Note that runs changed, nobody knows how."""
        self._remember([(id, HEARD_OF) for id in run_ids])

    def _remember(self, states: Collection[tuple[UUID, Any]]) -> None:
        for id, state in states:
            self._seen[id] = state
            self._seen.move_to_end(id)
        # Never fewer than came at once: a look that brings more would else find the same news again and again.
        while len(self._seen) > max(REMEMBERED_RUNS, len(states)):
            self._seen.popitem(last=False)


class Follower(Subscription):
    """One who follows all runs: what it is told of, and the news that it has given out."""

    def __init__(self) -> None:
        super().__init__(None)
        self.news = News()
        self._over: TaskError | None = None

    def end(self) -> None:
        """Take note that nothing will be told any more."""
        self._over = ServiceClosed()
        self.notify(None)

    def notify(self, run_ids: set[UUID] | None) -> None:
        """As any subscription; one that falls too far behind is over."""
        super().notify(run_ids)
        if len(self._changed) > MOST_BEHIND:
            self._over = FellBehind(MOST_BEHIND)
            self._changed = set()

    async def changed(self, timeout: float | None) -> set[UUID] | None:
        """As any subscription; raises ``ServiceClosed`` once the service has ended, and ``FellBehind``."""
        changed = await super().changed(timeout)
        if self._over:
            raise self._over
        return changed


class Changes:
    """Tells followers which runs may have changed. None is missed: what Redis does not tell is looked for."""

    def __init__(self, db: Database, events: Events) -> None:
        self._db = db
        self._events = events
        self._followers: set[Follower] = set()
        self._beginning = asyncio.Lock()
        self._working: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def follow(self) -> AsyncGenerator[Follower, None]:
        """Be told of every run that changes from now on. Raises ``ServiceUnavailable``."""
        follower = Follower()
        self._followers.add(follower)
        try:
            await self._begin()
            yield follower
        finally:
            self._followers.discard(follower)
            if not self._followers:
                await self._end()

    async def since(
        self, moment: datetime, conditions: Sequence[ColumnElement[bool]] = (), on_their_way: Collection[UUID] = ()
    ) -> list[Any]:
        """How the runs stand that may have changed since then, however many: little of each, because most are known."""
        async with self._db.read() as session:
            return await Runs(session).changed_since(moment - OVERLAP, on_their_way, LOOKED_AT, conditions)

    async def _begin(self) -> None:
        """See to it that there is work for followers, and that it knows by now what changed before."""
        async with self._beginning:
            if self._working is None:
                began, news = await self._db.clock.time(), News(LOOKED_AT)
                news.note(await self.since(began))
                self._working = asyncio.create_task(self._work(began, news))

    async def _end(self) -> None:
        working, self._working = self._working, None
        if working is not None:
            working.cancel()
            await asyncio.wait({working})

    async def _work(self, since: datetime, news: News) -> None:
        """Tell what is heard at once, and what only a look finds after a second in which nothing was heard."""
        behind = False
        async with self._events.subscribe(None) as heard:
            while True:
                changed = await heard.changed(LOOK_SECONDS)
                if changed:
                    news.expect(changed)
                    self._tell_of(changed)
                try:
                    looked_at = await self._db.clock.time()
                    # Now and then also while ids come: who changes a run may not reach Redis.
                    behind = behind or changed is None or looked_at - since > OVERLAP
                    if behind:
                        self._tell_unless_known(news.note(await self.since(since, (), news.on_their_way())))
                        behind, since = False, looked_at
                except ServiceClosed:
                    for follower in self._followers:
                        follower.end()
                    return
                except ServiceUnavailable:
                    # What changed meanwhile is found by time once the database answers again.
                    behind = True
                except Exception:
                    behind = True
                    logger.exception("Changed runs could not be looked for. Trying again.")

    def _tell_of(self, run_ids: set[UUID]) -> None:
        for follower in self._followers:
            follower.notify(run_ids)

    def _tell_unless_known(self, runs: Iterable[Any]) -> None:
        """Who heard of a change has given it out, and need not read the run again."""
        for follower in self._followers:
            follower.notify({run.id for run in runs if not follower.news.knows(run)})
