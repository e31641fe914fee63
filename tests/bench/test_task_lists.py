"""The measurements of saved tasks and purges, with next to nothing to do."""

from __future__ import annotations

import orjson
import pytest

from tests.bench import filled, purges, task_lists
from tests.bench.__main__ import Bench
from tests.bench.bed import Bed
from tests.bench.task_lists import LISTINGS

NOTHING_THERE = {"quick filter MINE", "quick filter RUNNING", "search for no such word"}
FAILED_TODAY = """
    SELECT EXISTS (SELECT FROM task_runs WHERE status IN ('FAILED', 'LOST', 'EXPIRED')
        AND finished_at >= date_trunc('day', now(), 'UTC'))"""


async def test_each_list_of_tasks_asks_the_same_of_the_service_and_of_http(bed: Bed) -> None:
    await filled.fill_tasks(bed.look, 2000)
    await filled.fill_runs(bed, 4000)
    # Some forty runs a day: at night none of today's may have failed yet.
    failed_today = await bed.look.fetchval(FAILED_TODAY)
    nothing_there = NOTHING_THERE if failed_today else NOTHING_THERE | {"quick filter FAILED_TODAY"}
    async with bed.server() as server:
        for listing in LISTINGS:
            by_service = await task_lists.page_by_service(bed, listing)
            answer = orjson.loads(await task_lists.answer_by_http(server.port, listing))
            nodes = answer["data"]["tasks"]["nodes"]
            assert [str(task.id) for task in by_service.items] == [node["id"] for node in nodes], listing.name
            assert bool(nodes) != (listing.name in nothing_there), listing.name
            if listing.name == "by last run":
                assert all(node["lastRun"] for node in nodes)
        assert len(await task_lists.suggestions_by_http(server.port, "", 2)) == 2


async def test_purges_are_measured_beside_what_stays(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purges, "RUNS", 2000)
    bench = Bench()
    await bench.measure_tasks(bed, ["purges"], 1, 100, 500)
    assert len(bench.figures) == len(purges.WAYS)
    assert all(figure.median > 0 for figure in bench.figures.values())


@pytest.mark.parametrize("way", purges.WAYS.values(), ids=purges.WAYS)
async def test_every_way_removes_all_old_runs_and_no_other(bed: Bed, way: purges.Way) -> None:
    await filled.fill_tasks(bed.look, 20)
    await filled.insert_runs(bed.look, 300, days=20)
    await purges.runs_a_second(bed, way, 2000)
    left = "SELECT count(*) FILTER (WHERE created_at < now() - interval '50 days'), count(*) FROM task_runs"
    old, everything = await bed.look.fetchrow(left)
    assert (old, everything) in ((0, 300), (0, 301)), "none but the run of a bulk action is new"
    assert await bed.look.fetchval("SELECT count(*) FROM task_logs") == 0
