"""``taskLogs`` and the ``logs`` and ``iterations`` of a run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.schema.conftest import GraphQLClient
from tests.schema.hand_worker import HandWorker
from tests.schema.test_trigger_task import UNKNOWN_RUN

LOGS = """
    query ($filter: TaskLogFilter!, $first: Int, $after: String, $last: Int) {
      taskLogs(filter: $filter, first: $first, after: $after, last: $last) {
        nodes { runId sequence iteration attempt level message data createdAt cursor } totalCount
        edges { cursor } pageInfo { hasNextPage endCursor }
      }
    }"""


async def messages(gql: GraphQLClient, run_id: str, **filter: Any) -> list[str]:
    """The messages of the lines that fit."""
    return [line["message"] for line in (await gql(LOGS, filter={"runId": run_id, **filter}))["taskLogs"]["nodes"]]


async def logged(gql: GraphQLClient, worker: HandWorker) -> str:
    """A run with lines of every level, in two iterations."""
    id = await gql.run()
    held = await worker.claim(id)
    await held.log(("DEBUG", "looking"), ("INFO", "50 % done", {"files": 3}), ("WARNING", "slow"))
    await held.continue_({})
    held = await worker.claim(id, claim_no=1)
    await held.log(("ERROR", "failed"))
    return id


async def test_lines_are_numbered_without_gaps_and_carry_their_data(gql: GraphQLClient, worker: HandWorker) -> None:
    id = await logged(gql, worker)
    page = (await gql(LOGS, filter={"runId": id}))["taskLogs"]
    assert [line["sequence"] for line in page["nodes"]] == [1, 2, 3, 4]
    assert page["totalCount"] == 4
    line = page["nodes"][1]
    assert (line["runId"], line["level"], line["message"], line["data"]) == (id, "INFO", "50 % done", {"files": 3})
    assert (line["iteration"], line["attempt"]) == (1, 1)
    assert [line["cursor"] for line in page["nodes"]] == [edge["cursor"] for edge in page["edges"]]


async def test_lines_can_be_filtered(gql: GraphQLClient, worker: HandWorker) -> None:
    id = await logged(gql, worker)
    assert await messages(gql, id, levels=["WARNING", "ERROR"]) == ["slow", "failed"]
    assert await messages(gql, id, levels=[]) == []
    assert await messages(gql, id, iteration=2) == ["failed"]
    assert await messages(gql, id, message={"contains": "% D"}) == ["50 % done"]
    query = """query ($id: ID!) { taskRun(id: $id) { logs(filter: { levels: [ERROR] }) {
        nodes { message } totalCount } } }"""
    assert (await gql(query, id=id))["taskRun"]["logs"] == {"nodes": [{"message": "failed"}], "totalCount": 1}


async def test_lines_are_paged_in_both_directions(gql: GraphQLClient, worker: HandWorker) -> None:
    id = await logged(gql, worker)
    page = (await gql(LOGS, filter={"runId": id}, first=3))["taskLogs"]
    assert page["pageInfo"]["hasNextPage"] is True
    rest = (await gql(LOGS, filter={"runId": id}, after=page["pageInfo"]["endCursor"]))["taskLogs"]
    assert [line["message"] for line in rest["nodes"]] == ["failed"]
    tail = (await gql(LOGS, filter={"runId": id}, last=1))["taskLogs"]
    assert [line["message"] for line in tail["nodes"]] == ["failed"]


async def test_a_run_without_lines_has_an_empty_log(gql: GraphQLClient) -> None:
    assert await messages(gql, await gql.run()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "allowed"),
    [
        ({"filter": {"runId": UNKNOWN_RUN}}, "TASK_RUN_NOT_FOUND", "no task run"),
        ({"filter": {"runId": "not-a-uuid"}}, "BAD_USER_INPUT", "a UUID"),
        ({"first": 201}, "BAD_USER_INPUT", "0 to 200"),
        ({"after": "broken"}, "BAD_USER_INPUT", "'after' is no cursor"),
    ],
)
async def test_a_log_that_cannot_be_shown_is_refused(
    gql: GraphQLClient, arguments: dict[str, Any], code: str, allowed: str
) -> None:
    error = await gql.error(LOGS, **{"filter": {"runId": await gql.run()}, **arguments})
    assert error["code"] == code
    assert allowed in error["message"]


async def test_iterations_come_in_order_with_the_one_under_way_last(gql: GraphQLClient, worker: HandWorker) -> None:
    id = await logged(gql, worker)
    query = """query ($id: ID!, $last: Int) { taskRun(id: $id) { iterations(last: $last) {
        nodes { number attempt outcome startedAt finishedAt } totalCount pageInfo { hasPreviousPage } } } }"""
    found = (await gql(query, id=id))["taskRun"]["iterations"]
    assert [(node["number"], node["outcome"]) for node in found["nodes"]] == [(1, "CONTINUED"), (2, None)]
    assert found["nodes"][0]["finishedAt"] >= found["nodes"][0]["startedAt"]
    assert found["totalCount"] == 2
    last = (await gql(query, id=id, last=1))["taskRun"]["iterations"]
    assert ([node["number"] for node in last["nodes"]], last["pageInfo"]["hasPreviousPage"]) == ([2], True)
