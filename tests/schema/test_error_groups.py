"""``errorGroups`` and ``errorGroup``: failures by their cause, from GraphQL."""

from __future__ import annotations

from typing import Any

import pytest

from app.error_grouping import ErrorGrouping
from app.main import Server
from app.service.task_fields import TaskFields
from tests.schema.conftest import GraphQLClient
from tests.schema.hand_worker import HandWorker
from tests.schema.test_trigger_task import UNKNOWN_RUN

LIST = """query ($filter: ErrorGroupFilter, $orderBy: ErrorGroupOrder, $first: Int, $after: String) {
    errorGroups(filter: $filter, orderBy: $orderBy, first: $first, after: $after) {
      totalCount pageInfo { hasNextPage endCursor }
      nodes { id definitionId definition { title } errorType message place count firstSeen lastSeen
        sampleRun { id error { message } errorGroup { id count } } affectedTasks { taskId count task { name } } } } }"""
ONE = "query ($id: ID!) { errorGroup(id: $id) { id count sampleRun { id } } }"
RUNS = "query ($filter: TaskRunFilter) { taskRuns(filter: $filter) { nodes { id } totalCount } }"
TRACEBACK = 'Traceback (most recent call last):\n  File "/srv/tasks.py", line 3, in read\n    x()\nOSError: m\n'


@pytest.fixture
async def failed(gql: GraphQLClient, worker: HandWorker, server: Server) -> list[str]:
    """Three failures of two causes, the first cause twice, and one of them of a saved task."""
    saved = await server.service.saved.create(
        TaskFields(name="Nightly", definition_id="greet", input={"whom": "Ada"}, group="g")
    )
    ids = [await gql.run(), str((await server.service.saved.execute(saved.id)).run.id), await gql.run()]
    for id, message in zip(ids, ("disk 1 is full", "disk 2 is full", "no such host"), strict=True):
        await (await worker.claim(id)).fail("OSError", message, TRACEBACK)
    await ErrorGrouping(server.service._db).catch_up()
    return ids


async def test_groups_show_what_failed_how_often_and_where(gql: GraphQLClient, failed: list[str]) -> None:
    answer = (await gql(LIST))["errorGroups"]
    host, full = answer["nodes"]
    assert answer["totalCount"] == 2
    assert (full["errorType"], full["message"], full["place"]) == ("OSError", "disk <n> is full", "tasks.py:read")
    assert (full["definitionId"], full["definition"], full["count"]) == ("greet", {"title": "Greet somebody"}, 2)
    assert full["firstSeen"] < full["lastSeen"]
    assert full["sampleRun"] == {
        "id": failed[1], "error": {"message": "disk 2 is full"}, "errorGroup": {"id": full["id"], "count": 2},
    }  # fmt: skip
    assert [(task["count"], task["task"]["name"]) for task in full["affectedTasks"]] == [(1, "Nightly")]
    assert (host["count"], host["affectedTasks"]) == (1, [])


async def test_groups_are_filtered_ordered_and_paged(gql: GraphQLClient, failed: list[str]) -> None:
    by_count = {"field": "COUNT", "direction": "DESC"}
    first = (await gql(LIST, orderBy=by_count, first=1))["errorGroups"]
    rest = (await gql(LIST, orderBy=by_count, first=1, after=first["pageInfo"]["endCursor"]))["errorGroups"]
    assert [(page["nodes"][0]["count"], page["pageInfo"]["hasNextPage"]) for page in (first, rest)] == [
        (2, True), (1, False),
    ]  # fmt: skip
    for filter, counts in (
        ({"groups": ["g"]}, [1]),
        ({"definitionIds": ["plain"]}, []),
        ({"errorTypes": ["OSError"], "since": "2020-01-01T00:00:00Z"}, [1, 2]),
        ({"until": "2020-01-01T00:00:00Z"}, []),
        ({"taskIds": [UNKNOWN_RUN]}, []),
    ):
        assert [group["count"] for group in (await gql(LIST, filter=filter))["errorGroups"]["nodes"]] == counts


async def test_the_runs_of_a_group_are_a_list_of_runs(gql: GraphQLClient, failed: list[str], server: Server) -> None:
    id = (await gql(LIST, orderBy={"field": "COUNT"}, first=1))["errorGroups"]["nodes"][0]["id"]
    runs = (await gql(RUNS, filter={"errorGroup": id}))["taskRuns"]
    assert ([run["id"] for run in runs["nodes"]], runs["totalCount"]) == ([failed[1], failed[0]], 2)
    told = (await gql(RUNS, filter={"errorText": "such host"}))["taskRuns"]
    assert [run["id"] for run in told["nodes"]] == [failed[2]]
    assert (await gql(ONE, id=id))["errorGroup"] == {"id": id, "count": 2, "sampleRun": {"id": failed[1]}}
    await server.service.bulk.clear_executions(confirm="clear executions")
    assert (await gql(ONE, id=id))["errorGroup"] == {"id": id, "count": 2, "sampleRun": None}
    assert (await gql(ONE, id="nothing"))["errorGroup"] is None


@pytest.mark.parametrize(
    ("filter", "says"),
    [
        ({"taskIds": ["x"]}, "UUID"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "'until' is not after 'since'"),
        ({"groups": ["a\0"]}, "NUL"),
    ],
    ids=range(3),
)
async def test_a_filter_that_cannot_be_meant_is_refused(gql: GraphQLClient, filter: dict[str, Any], says: str) -> None:
    error = await gql.error(LIST, filter=filter)
    assert (error["code"], says in error["message"]) == ("BAD_USER_INPUT", True)


async def test_a_list_of_groups_reads_what_belongs_to_them_together(
    gql: GraphQLClient, failed: list[str], statements: list[str]
) -> None:
    await gql(LIST)
    assert len([statement for statement in statements if "error_group_hours" in statement]) == 1
    assert len([statement for statement in statements if "FROM task_runs" in statement]) == 1
