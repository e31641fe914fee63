"""The doorbell: an arq message that says "this run is due". Never the truth; losing or doubling one is harmless.

The queue keeps arq's own format (arq 0.28, ``arq/connections.py``): a sorted set of job ids and one key with the job
for each, so that arq's stock worker and tools read it. A job's id is ``run_id:claim_no``, so that the ring for an
earlier claim can never be mistaken for the next one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

import orjson
from arq.constants import default_queue_name, job_key_prefix
from asyncpg.pgproto import pgproto
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from app import metrics
from app.patience import ANSWER_SECONDS, PatientRedis
from app.registry import PRIORITY_LIMIT

logger = logging.getLogger("taskloom.doorbell")

JOB_FUNCTION = "execute_run"
# One priority step outweighs any time: 2**42 ms after 1970 is the year 2109. arq's stock worker takes jobs whose score
# is at most now, hence the shift to negative scores; 2,000 steps of 2**42 stay below 2**53, exact in a double.
PRIORITY_STEP = 2**42
AT_ONCE = 1000
"""Jobs in one command of a script: Lua takes no more than 8,000 arguments."""
AWAY = (RedisError, OSError)
_NO_RUN = UUID(int=0)
_PROBED_QUEUE = "Probed"
"""Upper case, which no queue of runs is."""
# One command, because three for each run cost the client more than everything else, and of few words, because Valkey
# takes as long for each as for storing it. It is given a score and a job's id for each run. The job, as arq writes it
# (``arq/jobs.py``: try, function, arguments, keyword arguments, time of enqueueing), comes before its id, so that no
# worker finds an id without its job. It has no lifetime of its own: whoever takes the id takes the job away.
_PUT_IN = f"""
    local rings, jobs, rest = cjson.decode(ARGV[2]), {{}}, '],"k":{{}},"et":' .. ARGV[1] .. '}}'
    for n = 2, #rings, 2 do
        local run_id, claim_no = string.match(rings[n], '(.+):(.+)')
        jobs[n - 1] = '{job_key_prefix}' .. rings[n]
        jobs[n] = '{{"t":null,"f":"{JOB_FUNCTION}","a":["' .. run_id .. '",' .. claim_no .. rest
    end
    for n = 1, #rings, {2 * AT_ONCE} do
        local last = math.min(n + {2 * AT_ONCE - 1}, #rings)
        redis.call('MSET', unpack(jobs, n, last))
        redis.call('ZADD', KEYS[1], unpack(rings, n, last))
    end"""


class Ring(NamedTuple):
    """One run that is due: ``claim_no`` is the number of claims it had so far."""

    run_id: UUID
    claim_no: int
    queue: str
    priority: int
    due_at: datetime

    @property
    def job_id(self) -> str:
        """The id of the arq job."""
        return f"{self.run_id!s}:{self.claim_no}"


def ring_of(row: Mapping[str, Any]) -> Ring:
    """The ring for a run, from its row."""
    return Ring(row["id"], row["claim_no"], row["queue"], row["priority"], row["due_at"])


def parse_job_id(job_id: str) -> tuple[UUID, int] | None:
    """The run and the claim number in a doorbell job's id, or None when somebody else put the job there."""
    run_id, _, claim_no = job_id.partition(":")
    try:
        return pgproto.UUID(run_id), int(claim_no)
    except ValueError:
        return None


def score(priority: int, due_at: datetime) -> int:
    """Priority and due time in one number: lower is earlier. Higher priority first, then the earlier due time."""
    return int(due_at.timestamp() * 1000) - (priority + PRIORITY_LIMIT) * PRIORITY_STEP


def queue_key(queue: str) -> str:
    """The Redis key of a queue; the queue ``default`` is arq's own default queue."""
    return default_queue_name if queue == "default" else f"{default_queue_name}:{queue}"


def serialize(job: Any) -> bytes:
    """An arq job as JSON; arq's own default would be pickle, which nobody should load from a network."""
    return orjson.dumps(job)


def deserialize(data: bytes) -> dict[str, Any]:
    """The inverse of ``serialize``."""
    return orjson.loads(data)


def connect(url: str, **options: Any) -> PatientRedis:
    """A client for a ``redis://``, ``rediss://`` or ``unix://`` URL; connects at the first command."""
    from_url = cast(Any, PatientRedis.from_url)  # pyright: ignore[reportUnknownMemberType]
    return from_url(url, socket_connect_timeout=ANSWER_SECONDS, health_check_interval=30, **options)


class Doorbell:
    """Rings for due runs. All methods work without Redis: a ring that fails is made up for by the dispatcher."""

    def __init__(self, redis_url: str) -> None:
        # Not from a pool: taking a connection lets all tasks that are ready go first, the answer to the trigger among
        # them, which takes as long as the ring. That the connection was closed meanwhile shows only with a command.
        once_more = {"retry": Retry(NoBackoff(), 1), "retry_on_error": [RedisConnectionError]}
        self._redis: Any = connect(redis_url, single_connection_client=True, **once_more)
        self._put_in = self._redis.register_script(_PUT_IN)
        self._away = False
        self._closed = False

    async def ring(self, rings: Sequence[Ring]) -> bool:
        """Ring for runs, in one call for each queue. Returns False, after one log line, when Redis is away or hangs."""
        if not rings:
            return True
        if self._closed:
            return False
        try:
            await self._ring(rings)
        except AWAY as error:
            if not self._away:
                logger.warning("Redis is away (%s); workers find due runs in PostgreSQL meanwhile.", error)
            self._away = True
            metrics.doorbell(answered=False)
            return False
        finally:
            # It was closed meanwhile, and has connected after that.
            if self._closed:
                await self._redis.aclose()
        self._away = False
        metrics.doorbell(answered=True)
        return True

    async def probe(self) -> None:
        """Ring in a queue that nobody serves, and take that ring back. Raises Redis' errors: one that answers may be
        full, a replica, or refuse this user.
        """
        ring = Ring(_NO_RUN, 0, _PROBED_QUEUE, 0, datetime.now(UTC))
        await self._ring([ring])
        await self._redis.bzpopmin([queue_key(ring.queue)], timeout=1)
        await self._redis.unlink(job_key_prefix + ring.job_id)

    async def missing(self, rings: Sequence[Ring]) -> list[Ring]:
        """Those of the rings that their queue does not hold. Raises Redis' errors."""
        found: list[Ring] = []
        for key, members in _by_queue(rings).items():
            scores = await self._redis.execute_command("ZMSCORE", key, *(ring.job_id for ring in members))
            found += [ring for ring, value in zip(members, scores, strict=True) if value is None]
        return found

    async def close(self) -> None:
        """Close the connections. Rings that come later are dropped: they would open one again."""
        self._closed = True
        await self._redis.aclose()

    async def _ring(self, rings: Sequence[Ring]) -> None:
        now_ms = int(time.time() * 1000)
        for key, members in _by_queue(rings).items():
            told = [word for ring in members for word in (str(score(ring.priority, ring.due_at)), ring.job_id)]
            await self._put_in(keys=[key], args=[now_ms, serialize(told)])


def _by_queue(rings: Iterable[Ring]) -> dict[str, list[Ring]]:
    grouped: dict[str, list[Ring]] = {}
    for ring in rings:
        grouped.setdefault(queue_key(ring.queue), []).append(ring)
    return grouped
