"""Bulk actions and the audit in GraphQL."""

from __future__ import annotations

from typing import Any

import pytest

from app.settings import Settings
from tests.schema.conftest import GraphQLClient
from tests.schema.live import listening, subscribed

ANSWER = """{
    __typename
    ... on BulkActionSuccess { bulkAction { id kind status total done failed skipped percent createdBy { id }
        finishedAt abortedBy { id } run { id } errors { nodes { itemId code message } totalCount } } }
    ... on BulkPreview { kind total totalExceeds sample { id status } }
    ... on Error { code message path }
}"""


def mutation(name: str) -> str:
    return f"mutation ($input: {name[0].upper()}{name[1:]}Input!) {{ answer: {name}(input: $input) {ANSWER} }}"


async def answer(gql: GraphQLClient, name: str, **input: Any) -> dict[str, Any]:
    return (await gql(mutation(name), input=input))["answer"]


async def status(gql: GraphQLClient, id: str) -> str | None:
    run = (await gql("query ($id: ID!) { taskRun(id: $id) { status } }", id=id))["taskRun"]
    return run["status"] if run else None


async def test_runs_are_aborted_rerun_and_deleted(gql: GraphQLClient) -> None:
    ids = [await gql.run(tags=["bulk"]) for _ in range(3)]
    done = await answer(gql, "abortTasks", select={"filter": {"tags": {"any": ["bulk"]}}}, message="why")
    action = done["bulkAction"]
    assert (action["kind"], action["status"], action["total"], action["done"]) == ("ABORT_RUNS", "COMPLETED", 3, 3)
    assert (action["percent"], action["skipped"], action["run"], action["abortedBy"]) == (100.0, 0, None, None)
    assert action["createdBy"] == {"id": "local-admin"}
    assert [await status(gql, id) for id in ids] == ["ABORTED"] * 3

    again = await answer(gql, "rerunTasks", select={"ids": ids[:2]}, **{"from": "LAST_STATE"})
    assert again["bulkAction"]["done"] == 2
    reruns = await gql("{ taskRuns(filter: { statuses: [QUEUED] }) { nodes { rerunOf { id } } } }")
    assert {node["rerunOf"]["id"] for node in reruns["taskRuns"]["nodes"]} == set(ids[:2])

    deleted = await answer(gql, "deleteTaskRuns", select={"ids": ids})
    assert deleted["bulkAction"]["done"] == 3
    assert [await status(gql, id) for id in ids] == [None] * 3


async def test_items_that_fail_come_with_their_reasons(gql: GraphQLClient) -> None:
    id = await gql.run()
    await answer(gql, "abortTasks", select={"ids": [id]})
    failed = (await answer(gql, "abortTasks", select={"ids": [id]}))["bulkAction"]
    assert (failed["done"], failed["failed"], failed["errors"]["totalCount"]) == (0, 1, 1)
    [error] = failed["errors"]["nodes"]
    assert (error["itemId"], error["code"]) == (id, "TASK_RUN_NOT_ABORTABLE")


@pytest.mark.parametrize("name", ["abortTasks", "rerunTasks", "deleteTaskRuns"])
async def test_an_empty_filter_is_refused_and_a_dry_run_changes_nothing(gql: GraphQLClient, name: str) -> None:
    id = await gql.run()
    refusal = await answer(gql, name, select={"filter": {}})
    assert (refusal["__typename"], refusal["code"]) == ("ConfirmationRequired", "CONFIRMATION_REQUIRED")
    assert refusal["path"] == ["input", "all"]
    preview = await answer(gql, name, select={"filter": {}}, all=True, dryRun=True)
    assert (preview["__typename"], preview["totalExceeds"]) == ("BulkPreview", None)
    assert [run["id"] for run in preview["sample"]] == ([] if name == "deleteTaskRuns" else [id])
    assert await status(gql, id) == "QUEUED"
    assert (await gql("{ bulkActions { totalCount } auditEvents { totalCount } }")) == {
        "bulkActions": {"totalCount": 0},
        "auditEvents": {"totalCount": 0},
    }


@pytest.mark.parametrize(
    ("select", "said", "where"),
    [
        ({"ids": ["seven"]}, "'seven' is no id", ["ids"]),
        ({"ids": []}, "1 to 10000", ["ids"]),
        ({"filter": {"parentId": "seven"}}, "'seven' is not the id of a run", ["filter", "parentId"]),
        ({"filter": {"durationMs": {"gte": 2, "lt": 1}}}, "would find nothing", ["filter", "durationMs"]),
    ],
)
async def test_a_bad_selection_is_refused_by_name(
    gql: GraphQLClient, select: dict[str, Any], said: str, where: list[str]
) -> None:
    refusal = await answer(gql, "abortTasks", select=select)
    assert refusal["path"] == ["input", "select", *where]
    assert refusal["__typename"] == "InvalidArgument"
    assert said in refusal["message"]


@pytest.mark.parametrize("select", [{}, {"ids": ["a"], "filter": {}}, {"ids": None}])
async def test_a_selection_is_one_of_two(gql: GraphQLClient, select: dict[str, Any]) -> None:
    assert "errors" in await gql.answer(mutation("abortTasks"), input={"select": select})


async def test_the_whole_system_is_stopped_and_cleared_once_that_is_said_in_words(gql: GraphQLClient) -> None:
    id = await gql.run(delaySeconds=3600)
    for name in ("stopAllTasks", "clearExecutions"):
        assert (await answer(gql, name))["code"] == "CONFIRMATION_REQUIRED"
        assert (await answer(gql, name, confirm="yes"))["code"] == "CONFIRMATION_REQUIRED"
    assert (await answer(gql, "stopAllTasks", dryRun=True))["total"] == 1
    assert (await answer(gql, "stopAllTasks", confirm="stop all tasks"))["bulkAction"]["done"] == 1
    assert await status(gql, id) == "ABORTED"
    other = {"definitionIds": ["plain"]}
    assert (await answer(gql, "clearExecutions", dryRun=True, filter=other))["total"] == 0
    assert (await answer(gql, "clearExecutions", confirm="clear executions", filter=other))["bulkAction"]["done"] == 0
    assert (await answer(gql, "clearExecutions", dryRun=True))["total"] == 1
    assert (await answer(gql, "clearExecutions", confirm="clear executions"))["bulkAction"]["done"] == 1
    assert await status(gql, id) is None


async def test_a_bulk_action_that_ended_is_not_aborted_and_an_unknown_one_is_not_found(gql: GraphQLClient) -> None:
    action = (await answer(gql, "stopAllTasks", confirm="stop all tasks"))["bulkAction"]
    abort = "mutation ($id: ID!) { abortBulkAction(input: { id: $id }) { __typename ... on Error { code path } } }"
    refusal = (await gql(abort, id=action["id"]))["abortBulkAction"]
    assert refusal["__typename"] == "BulkActionNotAbortable"
    for id in ("seven", "0199c0de-0000-7000-8000-000000000000"):
        assert (await gql(abort, id=id))["abortBulkAction"]["__typename"] == "BulkActionNotFound"
    assert (await gql("query ($id: ID!) { bulkAction(id: $id) { id } }", id=id)) == {"bulkAction": None}


async def test_bulk_actions_are_listed_with_their_errors_by_few_statements(
    gql: GraphQLClient, statements: list[str]
) -> None:
    id = await gql.run()
    for _ in range(5):
        await answer(gql, "abortTasks", select={"ids": [id]})
    statements.clear()
    query = "{ bulkActions(first: 3) { totalCount nodes { id errors(first: 2) { nodes { code } } run { id } } } }"
    page = (await gql(query))["bulkActions"]
    assert page["totalCount"] == 5
    assert [len(node["errors"]["nodes"]) for node in page["nodes"]] == [1, 1, 1]
    assert len([statement for statement in statements if statement.startswith("SELECT")]) == 3


async def test_the_audit_is_found_by_action_principal_subject_and_time(gql: GraphQLClient) -> None:
    action = (await answer(gql, "stopAllTasks", confirm="stop all tasks", message="why"))["bulkAction"]
    await answer(gql, "clearExecutions", confirm="clear executions")
    query = """query ($filter: AuditEventFilter) { auditEvents(filter: $filter) { nodes {
        action principal { id kind } subjectKind subjectId details } } }"""

    async def found(**filter: Any) -> list[str]:
        return [node["action"] for node in (await gql(query, filter=filter))["auditEvents"]["nodes"]]

    assert await found() == ["clearExecutions", "stopAllTasks"]
    assert await found(actions=["stopAllTasks"]) == ["stopAllTasks"]
    assert await found(subjectId=action["id"], subjectKind="bulk action") == ["stopAllTasks"]
    assert await found(principals=["USER:nobody"]) == []
    assert await found(principals=["USER:local-admin"], at={"gte": "2026-01-01T00:00:00Z"}) == await found()
    assert await found(at={"lt": "2026-01-01T00:00:00Z"}) == []
    [event] = (await gql(query, filter={"actions": ["stopAllTasks"]}))["auditEvents"]["nodes"]
    assert event["details"]["arguments"]["message"] == "why"
    assert event["principal"] == {"id": "local-admin", "kind": "USER"}


async def test_a_bulk_action_is_followed_until_its_end(settings: Settings) -> None:
    async with listening(settings) as (server, address):
        server.service.bulk._starting.seconds_at_once = 0.0
        from app import RunFilter, RunSelection

        await server.service.trigger("http-request", input={"url": "http://127.0.0.1:9/"})
        action = await server.service.bulk.abort_runs(RunSelection(filter=RunFilter(queues=["default"])))
        query = "subscription ($id: ID!) { bulkActionUpdated(id: $id) { status done total } }"
        async with subscribed(address, query, id=str(action.id)) as subscription:
            first = await subscription.next()
            assert first["bulkActionUpdated"] == {"status": "PENDING", "done": 0, "total": None}
            while (await server.service.bulk.step(action.id)).finished_at is None:  # type: ignore[union-attr]
                pass
            events = await subscription.rest()
        assert events[-1]["bulkActionUpdated"] == {"status": "COMPLETED", "done": 1, "total": 1}
