"""Batches in GraphQL: what ``triggerTasks`` gives, and ``abortBatch``."""

from __future__ import annotations

from typing import Any

from app.main import Server
from tests.schema.conftest import GraphQLClient

TRIGGER = """mutation ($input: TriggerTasksInput!) { triggerTasks(input: $input) { __typename
    ... on TriggerTasksSuccess { results { ... on TriggerTaskSuccess { run { id batchId } } } batch { id name total } }
    ... on Error { code path message } } }"""
LOOK = """query ($id: ID!) { batch(id: $id) { status total finished percent completedAt createdBy { id }
    counts { status count } abortedBy { id } runs(first: 1) { nodes { id } totalCount }
    onComplete { definitionId input error run { id input } } } }"""
ABORT = """mutation ($id: ID!) { abortBatch(input: { id: $id }) { __typename
    ... on BulkActionSuccess { bulkAction { kind done } } ... on Error { code } } }"""


def task(**more: Any) -> dict[str, Any]:
    return {"definitionId": "greet", "input": {"whom": "Ada"}, **more}


async def test_triggered_tasks_are_a_batch_with_counts_and_what_follows(gql: GraphQLClient, server: Server) -> None:
    follows = {"definitionId": "greet", "input": {"whom": "All"}}
    batch = {"name": "Nightly", "onComplete": follows}
    made = (await gql(TRIGGER, input={"tasks": [task(), task()], "batch": batch}))["triggerTasks"]
    id = made["batch"]["id"]
    assert made["batch"] == {"id": id, "name": "Nightly", "total": 2}
    assert [result["run"]["batchId"] for result in made["results"]] == [id, id]
    found = (await gql(LOOK, id=id))["batch"]
    assert (found["status"], found["finished"], found["percent"], found["completedAt"]) == ("RUNNING", 0, 0.0, None)
    assert found["counts"] == [{"status": "QUEUED", "count": 2}]
    assert found["runs"]["totalCount"] == 2
    assert found["onComplete"] == {**follows, "error": None, "run": None}
    for result in made["results"]:
        await server.service.abort(result["run"]["id"])
    await server.service.batches.complete_due()
    found = (await gql(LOOK, id=id))["batch"]
    assert (found["status"], found["finished"], found["percent"]) == ("COMPLETED", 2, 100.0)
    assert found["completedAt"] is not None
    assert found["onComplete"]["run"]["input"] == {"whom": "All"}


async def test_a_batch_is_aborted_once(gql: GraphQLClient) -> None:
    made = (await gql(TRIGGER, input={"tasks": [task(), task()]}))["triggerTasks"]["batch"]["id"]
    assert (await gql(ABORT, id=made))["abortBatch"]["bulkAction"] == {"kind": "ABORT_RUNS", "done": 2}
    assert (await gql(LOOK, id=made))["batch"]["status"] == "ABORTED"
    assert (await gql(ABORT, id=made))["abortBatch"]["__typename"] == "BatchNotAbortable"
    unknown = "0199c0de-0000-7000-8000-000000000000"
    assert (await gql(ABORT, id=unknown))["abortBatch"]["__typename"] == "BatchNotFound"
    assert (await gql(LOOK, id=unknown))["batch"] is None


async def test_what_cannot_follow_refuses_everything(gql: GraphQLClient) -> None:
    for definition_id, refusal in (("nobody", "TaskDefinitionNotFound"), ("greet", "InvalidTaskInput")):
        batch = {"onComplete": {"definitionId": definition_id}}
        answer = (await gql(TRIGGER, input={"tasks": [task()], "batch": batch}))["triggerTasks"]
        assert answer["__typename"] == refusal
    assert (await gql("{ taskRuns { totalCount } }"))["taskRuns"]["totalCount"] == 0
