"""Backpressure: a queue that holds as many runs as it may takes no more triggers. What was promised is never refused.

How many runs wait is counted seldom, and what this process has stored since is added: a trigger costs an addition while
its queue is far from full. Of several processes each may therefore let in what the others do between two counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app import backlog, metrics
from app.db import Database, is_disconnect, outages_told
from app.errors import QueueFull
from app.service.preparing import NewRun
from app.service.repetitions import refused_with, unknown
from app.settings import Settings

logger = logging.getLogger("taskloom.service")

FRESH_SECONDS = 1.0
"""How old a count may be by which a trigger is refused, and while a queue is more than half full."""
CALM_SECONDS = 5.0
"""The same while it is not."""
REST = 20
"""After a count there is none for so many times as long as it took."""
MOST_QUEUES = 1000
"""So many are kept in mind: clients may name any."""


@dataclass(slots=True)
class Level:
    """How full a queue is, as one process knows it: by its last count, and by what it has let in since."""

    queue: str
    limit: int
    counted: int | None = None
    stored: int = 0
    asking: int = 0
    looked_at: float = float("-inf")
    rest: float = 0.0
    counting: asyncio.Task[None] | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Whoever asked first is answered first, though it takes longer."""

    @property
    def depth(self) -> int:
        """How many runs wait, about; what is being stored counts."""
        return (self.counted or 0) + self.stored + self.asking

    @property
    def room(self) -> int:
        """How many more it takes."""
        return max(0, self.limit - self.depth)

    def is_stale(self, now: float, wanted: int) -> bool:
        """Whether to count again, at ``now`` in monotonic seconds, for the sake of so many triggers."""
        calm = 2 * (self.depth + wanted) <= self.limit
        return now - self.looked_at >= max(CALM_SECONDS if calm else FRESH_SECONDS, self.rest)

    def note(self, counted: int, stored_before: int, began: float, ended: float) -> None:
        """Take a count in; what was stored before it began is part of it."""
        self.counted = counted
        self.stored -= stored_before
        self.looked_at, self.rest = ended, REST * (ended - began)


@dataclass(slots=True)
class LetIn:
    """What becomes of triggers: the refusals by id, and how many places are kept in each queue for the others."""

    refused: dict[UUID, QueueFull] = field(default_factory=dict[UUID, QueueFull])
    places: Counter[str] = field(default_factory=Counter[str])


class Backpressure:
    """Knows the queues of one process, and refuses triggers for full ones."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._settings = settings
        self._levels: dict[str, Level] = {}

    async def let_in(self, new: Sequence[NewRun]) -> LetIn:
        """Keep a place for each of the triggers, or refuse it; ``settle`` gives the places back.

        Raises ``ServiceUnavailable`` when it has to know more than it does and the database is away.
        """
        answer = LetIn()
        try:
            for queue, wanted in Counter([run.values["queue"] for run in new if not run.is_owed]).items():
                if level := self._level(queue):
                    await self._ask(level, wanted, new, answer)
        except BaseException:
            # Of several queues one may have kept places by now.
            self.settle(answer, ())
            raise
        return answer

    def settle(self, answer: LetIn, stored: Iterable[NewRun]) -> None:
        """Give the places back, and count what was stored in their stead."""
        for queue, number in answer.places.items():
            if level := self._levels.get(queue):
                level.asking -= number
        for queue, number in Counter([run.values["queue"] for run in stored]).items():
            if level := self._levels.get(queue):
                level.stored += number

    async def _ask(self, level: Level, wanted: int, new: Sequence[NewRun], answer: LetIn) -> None:
        async with level.turn:
            await self._look(level, wanted)
            if wanted <= level.room:
                self._keep(level, wanted, answer)
            else:
                those = [run for run in new if run.values["queue"] == level.queue and not run.is_owed]
                await self._let_some_in(level, those, answer)

    async def _let_some_in(self, level: Level, those: Sequence[NewRun], answer: LetIn) -> None:
        """The first ones as far as there is room; repetitions of earlier triggers need none."""
        with outages_told():
            async with self._db.autocommit() as pipe:
                asking = await unknown(pipe, those)
        late = asking[level.room :]
        self._keep(level, len(asking) - len(late), answer)
        refusals = {run.id: QueueFull(level.queue, level.depth, level.limit) for run in late}
        answer.refused |= refused_with(refusals, those)
        metrics.REFUSED.labels(level.queue).inc(len(refusals))

    @staticmethod
    def _keep(level: Level, places: int, answer: LetIn) -> None:
        level.asking += places
        answer.places[level.queue] = places

    def _level(self, queue: str) -> Level | None:
        """What is known of a queue; None of one without a limit."""
        level = self._levels.get(queue)
        if level is None and (limit := self._settings.queue_limit(queue)):
            if len(self._levels) >= MOST_QUEUES:
                self._forget_one()
            level = self._levels[queue] = Level(queue, limit)
        return level

    def _forget_one(self) -> None:
        idle = (level for level in self._levels.values() if not (level.asking or level.counting or level.turn.locked()))
        if longest := min(idle, key=lambda level: level.looked_at, default=None):
            del self._levels[longest.queue]

    # Counting.

    async def _look(self, level: Level, wanted: int) -> None:
        """Count again where that is due; wait for it only where nothing is known yet, or a refusal depends on it."""
        if level.is_stale(time.monotonic(), wanted) and level.counting is None:
            level.counting = asyncio.create_task(self._count(level))
        if level.counting is not None and (level.counted is None or wanted > level.room):
            await asyncio.shield(level.counting)

    async def _count(self, level: Level) -> None:
        began, stored = time.monotonic(), level.stored
        try:
            async with self._db.autocommit() as pipe:
                counted = await backlog.depth(pipe, level.queue, level.limit)
        except Exception as error:
            # Without a count all are let in: whether they can be stored, the insert finds out.
            level.looked_at = time.monotonic()
            if not is_disconnect(error):
                logger.exception("The runs in queue '%s' could not be counted.", level.queue)
        else:
            level.note(counted, stored, began, time.monotonic())
        finally:
            level.counting = None
