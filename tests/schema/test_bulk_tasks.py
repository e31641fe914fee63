"""Bulk actions on saved tasks in GraphQL."""

from __future__ import annotations

from typing import Any

from app.main import Server
from tests.schema.conftest import GraphQLClient
from tests.workbench import connected

CREATE = """mutation ($input: CreateTaskInput!) { createTask(input: $input) {
    ... on SaveTaskSuccess { task { id } } ... on Error { message } } }"""
ANSWER = """{ __typename
    ... on BulkActionSuccess { bulkAction { kind status done batch { total status runs { nodes { tags } } } } }
    ... on BulkPreview { total sample { id } sampleTasks { name } } ... on Error { code path } }"""


async def answer(gql: GraphQLClient, name: str, **input: Any) -> dict[str, Any]:
    kind = f"{name[0].upper()}{name[1:]}Input"
    return (await gql(f"mutation ($input: {kind}!) {{ answer: {name}(input: $input) {ANSWER} }}", input=input))[
        "answer"
    ]


async def test_tasks_are_tried_executed_changed_and_moved(gql: GraphQLClient) -> None:
    for name in ("One", "Two"):
        fields = {"name": name, "definitionId": "greet", "input": {"whom": "Ada"}, "tags": ["mine"]}
        assert "task" in (await gql(CREATE, input=fields))["createTask"]
    select = {"filter": {"tags": {"any": ["mine"]}}}
    tried = await answer(gql, "executeTasks", select=select, dryRun=True)
    assert (tried["total"], tried["sample"], [task["name"] for task in tried["sampleTasks"]]) == (2, [], ["One", "Two"])
    done = (await answer(gql, "executeTasks", select=select, tags=["bulk"], batch={"name": "Both"}))["bulkAction"]
    assert (done["kind"], done["status"], done["done"]) == ("EXECUTE_TASKS", "COMPLETED", 2)
    assert (done["batch"]["total"], done["batch"]["status"]) == (2, "RUNNING")
    assert [run["tags"] for run in done["batch"]["runs"]["nodes"]] == [["mine", "bulk"]] * 2
    changed = await answer(gql, "updateTasks", select=select, changes={"addTags": ["new"], "enabled": False})
    assert changed["bulkAction"]["done"] == 2
    assert (await answer(gql, "moveTasks", select=select, group="billing"))["bulkAction"]["done"] == 2
    found = await gql('{ tasks(filter: { tags: { all: ["new"] }, groups: ["billing"] }) { nodes { name } } }')
    assert sorted(task["name"] for task in found["tasks"]["nodes"]) == ["One", "Two"]


async def test_tasks_are_chosen_by_a_search(gql: GraphQLClient) -> None:
    for name in ("Nightly report", "Weekly report"):
        await gql(CREATE, input={"name": name, "definitionId": "greet", "input": {"whom": "Ada"}})
    tried = await answer(gql, "executeTasks", select={"filter": {"search": "nihgtly"}}, dryRun=True)
    assert [task["name"] for task in tried["sampleTasks"]] == ["Nightly report"]
    assert (await answer(gql, "executeTasks", select={"filter": {"search": "!"}}))["code"] == "CONFIRMATION_REQUIRED"


async def test_what_says_nothing_is_refused(gql: GraphQLClient) -> None:
    everything = {"filter": {}}
    assert (await answer(gql, "executeTasks", select=everything))["code"] == "CONFIRMATION_REQUIRED"
    assert (await answer(gql, "moveTasks", select=everything, group=None))["code"] == "CONFIRMATION_REQUIRED"
    assert (await answer(gql, "updateTasks", select=everything, changes={}))["code"] == "BAD_USER_INPUT"
    follows = {"onComplete": {"definitionId": "nobody"}}
    refused = await answer(gql, "executeTasks", select=everything, all=True, batch=follows)
    assert refused["code"] == "TASK_DEFINITION_NOT_FOUND"


async def test_what_no_task_may_have_is_refused_before_anything_is_stored(gql: GraphQLClient) -> None:
    select = {"filter": {}}
    wrong = {
        "addTags": ["a\0"],
        "removeTags": [""],
        "group": "g" * 201,
        "owner": "USER:\0",
        "priority": 5000,
    }
    for field, value in wrong.items():
        refused = await answer(gql, "updateTasks", select=select, all=True, changes={field: value})
        assert (refused["code"], refused["path"]) == ("BAD_USER_INPUT", ["input", "changes", field])
    refused = await answer(gql, "moveTasks", select=select, all=True, group="\0")
    assert (refused["code"], refused["path"]) == ("BAD_USER_INPUT", ["input", "group"])
    assert (await gql("{ bulkActions { nodes { id } } }"))["bulkActions"]["nodes"] == []


async def test_an_execution_with_what_no_run_may_have_leaves_no_batch(gql: GraphQLClient, server: Server) -> None:
    await gql(CREATE, input={"name": "One", "definitionId": "greet", "input": {"whom": "Ada"}})
    for field, value in {"tags": ["a\0"], "priority": 5000, "input": {"whom": "\0"}}.items():
        refused = await answer(gql, "executeTasks", select={"filter": {}}, all=True, **{field: value})
        assert (refused["code"], refused["path"]) == ("BAD_USER_INPUT", ["input", field])
    async with connected(server.settings) as connection:
        assert await connection.fetchval("SELECT count(*) FROM batches") == 0
