"""Retention through GraphQL: rules, pins, and what would go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.schema.conftest import GraphQLClient
from tests.schema.test_trigger_task import UNKNOWN_RUN

RULE = "{ definitionId succeededLogsDays failedLogsDays runsDays keepLast updatedBy { id } }"
RULES = f"{{ retention {{ default {RULE} definitions {RULE} }} }}"
UPDATE = f"""
    mutation ($input: UpdateRetentionInput!) {{
      updateRetention(input: $input) {{
        __typename
        ... on UpdateRetentionSuccess {{ rule {RULE} }}
        ... on Error {{ message code path }}
      }}
    }}"""
RESET = f"""
    mutation ($input: ResetRetentionInput!) {{
      resetRetention(input: $input) {{ ... on ResetRetentionSuccess {{ rule {RULE} }} }}
    }}"""
PIN = """
    mutation ($id: ID!) {
      result: pinRun(input: { id: $id }) {
        __typename ... on PinRunSuccess { run { id isPinned } } ... on Error { code path }
      }
    }"""
UNPIN = PIN.replace("pinRun", "unpinRun").replace("PinRun", "UnpinRun")
DEFAULTS = {
    "definitionId": None, "succeededLogsDays": 3, "failedLogsDays": 30, "runsDays": 90, "keepLast": 10,
    "updatedBy": None,
}  # fmt: skip


async def update(gql: GraphQLClient, **changes: Any) -> dict[str, Any]:
    """The result of an update."""
    return (await gql(UPDATE, input=changes))["updateRetention"]


async def test_rules_are_read_changed_and_reset(gql: GraphQLClient) -> None:
    assert (await gql(RULES))["retention"] == {"default": DEFAULTS, "definitions": []}
    rule = (await update(gql, definitionId="greet", runsDays=None, keepLast=3))["rule"]
    own = {**DEFAULTS, "definitionId": "greet", "runsDays": None, "keepLast": 3, "updatedBy": {"id": "local-admin"}}
    assert rule == own
    assert (await gql(RULES))["retention"] == {"default": DEFAULTS, "definitions": [own]}
    assert (await gql(RESET, input={"definitionId": "greet"}))["resetRetention"]["rule"] == DEFAULTS


async def test_who_changed_a_rule_or_pinned_a_run_is_written_down(gql: GraphQLClient) -> None:
    await update(gql, definitionId="greet", keepLast=3)
    id = await gql.run()
    await gql(PIN, id=id)
    await gql(PIN, id=id)
    events = (await gql("{ auditEvents { nodes { action subjectId details } } }"))["auditEvents"]["nodes"]
    assert events == [
        {"action": "pinRun", "subjectId": id, "details": None},
        {"action": "updateRetention", "subjectId": "greet", "details": {"keepLast": 3}},
    ]


@pytest.mark.parametrize(
    ("changes", "kind", "path"),
    [
        ({}, "InvalidArgument", ["input"]),
        ({"runsDays": 1}, "InvalidArgument", ["input", "succeededLogsDays"]),
        ({"succeededLogsDays": -1}, "InvalidArgument", ["input", "succeededLogsDays"]),
        ({"keepLast": 100_000}, "InvalidArgument", ["input", "keepLast"]),
        ({"definitionId": "nobody", "keepLast": 1}, "TaskDefinitionNotFound", ["input", "definitionId"]),
        ({"definitionId": "*", "keepLast": 1}, "TaskDefinitionNotFound", ["input", "definitionId"]),
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused(
    gql: GraphQLClient, changes: dict[str, Any], kind: str, path: list[str]
) -> None:
    result = await update(gql, **changes)
    assert (result["__typename"], result["path"]) == (kind, path)
    assert (await gql(RULES))["retention"] == {"default": DEFAULTS, "definitions": []}


async def test_a_run_is_pinned_and_unpinned(gql: GraphQLClient) -> None:
    id = await gql.run()
    assert (await gql(PIN, id=id))["result"]["run"] == {"id": id, "isPinned": True}
    assert (await gql("query ($id: ID!) { taskRun(id: $id) { isPinned } }", id=id))["taskRun"] == {"isPinned": True}
    assert (await gql(UNPIN, id=id))["result"]["run"] == {"id": id, "isPinned": False}


@pytest.mark.parametrize("id", [UNKNOWN_RUN, "nonsense"])
async def test_a_run_that_is_not_there_is_not_pinned(gql: GraphQLClient, id: str) -> None:
    for mutation in (PIN, UNPIN):
        result = (await gql(mutation, id=id))["result"]
        assert (result["__typename"], result["code"]) == ("TaskRunNotFound", "TASK_RUN_NOT_FOUND")
    assert (await gql("{ auditEvents { nodes { id } } }"))["auditEvents"]["nodes"] == []


async def test_a_report_on_nothing_is_complete_and_empty(gql: GraphQLClient) -> None:
    query = "{ retentionReport { isComplete definitions { definitionId runsWithoutLogs logs runs bytes } } }"
    assert (await gql(query))["retentionReport"] == {"isComplete": True, "definitions": []}


async def test_the_examples_of_the_page_on_retention_work(gql: GraphQLClient) -> None:
    page = (Path(__file__).parents[2] / "docs" / "retention.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```graphql\n(.*?)```", page, re.DOTALL)
    query, mutation = example.split("\n\n")
    assert (await gql(query))["retention"]["default"]["succeededLogsDays"] == 3
    mutation = mutation.replace("checksum-tree", "greet")
    assert (await gql(mutation))["updateRetention"]["rule"] == {"succeededLogsDays": 1, "runsDays": 90, "keepLast": 100}
