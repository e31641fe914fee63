"""The measurements of many queued runs, with few."""

from __future__ import annotations

import orjson
import pytest
from redis.asyncio import Redis

from app.doorbell import queue_key
from tests.bench import backlog
from tests.bench.__main__ import Bench
from tests.bench.backlog import LISTINGS
from tests.bench.bed import Bed

RUNS = 1200


def ids(answer: bytes) -> list[str]:
    return [node["id"] for node in orjson.loads(answer)["data"]["taskRuns"]["nodes"]]


async def test_filling_queues_runs_that_are_due_and_rings_for_each(bed: Bed) -> None:
    await backlog.fill(bed, RUNS)
    queued = "SELECT count(*) FROM task_runs WHERE status = 'QUEUED' AND due_at <= now()"
    assert await bed.look.fetchval(queued) == RUNS
    async with Redis.from_url(bed.settings.redis_url) as redis:
        assert await redis.zcard(queue_key("default")) == RUNS * 9 // 10
        assert await redis.zcard(queue_key(backlog.RARE_QUEUE)) == RUNS // 10


async def test_claims_by_hand_are_measured_and_undone_so_that_workers_still_execute_the_runs(bed: Bed) -> None:
    await backlog.fill(bed, RUNS)
    assert await backlog.claimed(bed, backlog.CLAIM) > 0
    assert await bed.look.fetchval("SELECT count(*) FROM task_runs WHERE status = 'QUEUED' AND claim_no = 0") == RUNS
    assert await backlog.executed(bed, RUNS * 9 // 10) > 0
    assert await bed.look.fetchval("SELECT count(*) FROM task_runs WHERE status = 'SUCCEEDED'") == RUNS * 9 // 10


async def test_each_list_asks_the_same_of_the_service_and_of_http(bed: Bed) -> None:
    await backlog.fill(bed, 200)
    await bed.look.execute("UPDATE task_runs SET status = 'SUCCEEDED', finished_at = now() WHERE priority = -1")
    async with bed.server() as server:
        for listing in LISTINGS:
            by_service = await backlog.page_by_service(bed, listing)
            by_http = await backlog.answer_by_http(bed, server.port, listing)
            assert [str(run.id) for run in by_service.items] == ids(by_http), listing.name
            assert by_service.items


async def test_many_are_compared_with_few_on_the_same_servers(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "SMALL", 1000)
    monkeypatch.setattr(backlog, "PAGES", 2)
    bench = Bench()
    await bench.measure_backlog(bed, 1, RUNS)
    assert "Queued runs claimed to final, many to few" in bench.figures
    assert all(figure.median > 0 for figure in bench.figures.values())
    assert len(bench.figures) == 6 + 4 * len(LISTINGS)
    assert await bed.look.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'many'") == 0
