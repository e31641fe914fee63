"""Statistics through GraphQL: what a dashboard asks for, what is refused, and what it costs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app import clock
from app.main import Server
from tests.schema.conftest import GraphQLClient
from tests.service import finished
from tests.service.finished import plain

DASHBOARD = """
    query ($since: DateTime!, $filter: StatisticsFilter) {
      statistics(filter: $filter, interval: DAY, timeZone: "Europe/Berlin", since: $since) {
        asOf coarseBefore
        buckets { startsAt localStart endsAt measures { ...All } }
        totals { ...All }
        previous { since until measures { runs } }
        ranking(by: DEFINITION, rank: FAILURES, first: 5) { key measures { runs failed } task { id } definition { id } }
        slowest(first: 2) { runId durationMs run { id status } }
      }
    }
    fragment All on StatisticsMeasures {
      runs succeeded failed aborted lost expired successRate runsPerHour
      durationMs { p50 p95 p99 average } waitMs { p50 p95 p99 average }
    }"""


async def test_a_dashboard_gets_all_of_it_in_one_answer(gql: GraphQLClient, server: Server) -> None:
    now = clock.now()
    runs = [plain(now - timedelta(hours=30), took=took, definition="greet") for took in (1.0, 2.0, 3.0)]
    runs.append(plain(now - timedelta(hours=30), took=4.0, definition="plain", status="FAILED"))
    await finished.store(server.db, runs)
    since = (now - timedelta(days=3)).isoformat()
    found = (await gql(DASHBOARD, since=since))["statistics"]
    assert len(found["buckets"]) == 4
    assert all(bucket["localStart"][10:19] == "T00:00:00" for bucket in found["buckets"])
    assert sum(bucket["measures"]["runs"] for bucket in found["buckets"]) == 4
    assert (found["totals"]["succeeded"], found["totals"]["failed"], found["totals"]["successRate"]) == (3, 1, 0.75)
    assert found["totals"]["durationMs"]["average"] == 2500
    assert found["totals"]["durationMs"]["p50"] == pytest.approx(2000, rel=0.05)
    assert found["previous"]["measures"] == {"runs": 0}
    assert [(row["key"], row["measures"]["failed"], row["task"], row["definition"]) for row in found["ranking"]] == [
        ("plain", 1, None, {"id": "plain"}),
        ("greet", 0, None, {"id": "greet"}),
    ]
    assert [row["durationMs"] for row in found["slowest"]] == [4000, 3000]
    assert found["slowest"][0]["run"] == {"id": str(runs[3].id), "status": "FAILED"}
    assert found["coarseBefore"] is None
    part = (await gql(DASHBOARD, since=since, filter={"definitionIds": ["plain"]}))["statistics"]
    assert part["totals"]["runs"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ('timeZone: "Mars/Olympus"', "BAD_USER_INPUT", "no time zone"),
        ('timeZone: "localtime"', "BAD_USER_INPUT", "no time zone"),
        ('since: "2026-01-01T00:00:00Z", until: "2026-03-01T00:00:00Z"', "BAD_USER_INPUT", "more than 1000 buckets"),
        ('filter: { definitionIds: ["nobody"] }', "TASK_DEFINITION_NOT_FOUND", "no task definition 'nobody'"),
        ('filter: { taskIds: ["019fc68f-a552-797f-a1de-0c0a5d664782"] }', "TASK_NOT_FOUND", "There is no task"),
    ],
)
async def test_what_is_wrong_is_told_by_its_name(gql: GraphQLClient, arguments: str, code: str, words: str) -> None:
    error = await gql.error(f"{{ statistics({arguments}) {{ totals {{ runs }} }} }}")
    assert error["code"] == code
    assert words in error["message"]


async def test_buckets_count_as_many_as_there_may_be_when_a_query_is_weighed(gql: GraphQLClient) -> None:
    part = "statistics { buckets { startsAt measures { runs succeeded failed durationMs { p50 p95 p99 } } } }"
    assert (await gql(f"{{ a: {part} b: {part} }}"))["a"] is not None
    many = " ".join(f"{name}: {part}" for name in "abcdefghijklmn")
    assert (await gql.error(f"{{ {many} }}"))["code"] == "QUERY_TOO_COMPLEX"
