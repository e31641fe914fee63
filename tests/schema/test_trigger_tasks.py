"""``triggerTasks``: many runs at once, each with a result of its own."""

from __future__ import annotations

from typing import Any

from tests.schema.conftest import GraphQLClient

BULK = """
    mutation ($input: TriggerTasksInput!) {
      triggerTasks(input: $input) {
        __typename
        ... on TriggerTasksSuccess { results {
          __typename
          ... on TriggerTaskSuccess { run { id name } }
          ... on Error { message code path }
        } }
        ... on Error { message code path }
      }
    }"""


def task(**arguments: Any) -> dict[str, Any]:
    """One item that fits."""
    return {"definitionId": "greet", "input": {"whom": "Ada"}, **arguments}


async def test_each_item_has_its_result_in_order_and_a_bad_one_refuses_no_other(gql: GraphQLClient) -> None:
    tasks = [
        task(name="first"),
        task(definitionId="nobody"),
        task(name="second", delaySeconds=-1),
        task(parentId="not-a-uuid"),
        task(input={"whom": 7}),
        task(name="last"),
    ]
    result = (await gql(BULK, input={"tasks": tasks}))["triggerTasks"]
    assert [item["__typename"] for item in result["results"]] == [
        "TriggerTaskSuccess",
        "TaskDefinitionNotFound",
        "InvalidArgument",
        "TaskRunNotFound",
        "InvalidTaskInput",
        "TriggerTaskSuccess",
    ]
    assert [item["run"]["name"] for item in result["results"] if "run" in item] == ["first", "last"]
    assert result["results"][2]["path"] == ["input", "tasks", "2", "delaySeconds"]
    listed = await gql("{ taskRuns { nodes { name } } }")
    assert [run["name"] for run in listed["taskRuns"]["nodes"]] == ["last", "first"]


async def test_no_items_are_no_results(gql: GraphQLClient) -> None:
    result = (await gql(BULK, input={"tasks": []}))["triggerTasks"]
    assert result == {"__typename": "TriggerTasksSuccess", "results": []}


async def test_more_items_than_allowed_are_refused_as_a_whole(gql: GraphQLClient) -> None:
    result = (await gql(BULK, input={"tasks": [task()] * 10_001}))["triggerTasks"]
    assert (result["__typename"], result["path"]) == ("InvalidArgument", ["input", "tasks"])
    assert "10000" in result["message"]
    assert (await gql("{ taskRuns { nodes { id } } }"))["taskRuns"]["nodes"] == []
