"""Export and import through GraphQL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.schema.conftest import GraphQLClient

EXPORT = """
    query ($input: ExportTasksInput) {
      exportTasks(input: $input) {
        __typename ... on ExportTasksSuccess { text tasks schedules } ... on Error { code path }
      }
    }"""
PLAN = """
    plan { created renamed replaced skipped unchanged problems { path code }
      items { index name group step savedAs taskId schedulesAdded schedulesRemoved notes
              problems { path code message } } }
"""
IMPORT = f"""
    mutation ($input: ImportTasksInput!) {{
      importTasks(input: $input) {{
        __typename
        ... on ImportTasksSuccess {{ done {PLAN} }}
        ... on ImportImpossible {{ {PLAN} }}
        ... on Error {{ message code path }}
      }}
    }}"""
TEXT = """version: 1
tasks:
  - name: Greet Ada
    group: polite
    definitionId: greet
    input:
      whom: Ada
    owner: "USER:local-admin"
    enabled: true
    schedules:
      - cron: "@daily"
        timeZone: UTC
        jitterSeconds: 0
        overlap: SKIP
        catchUp: LAST
        catchUpSeconds: 86400
        owner: "USER:local-admin"
"""


async def take(gql: GraphQLClient, text: str = TEXT, **how: Any) -> dict[str, Any]:
    """The result of an import."""
    return (await gql(IMPORT, input={"text": text, **how}))["importTasks"]


async def test_what_was_imported_is_exported_as_it_was(gql: GraphQLClient) -> None:
    planned = await take(gql, dryRun=True)
    assert (planned["done"], planned["plan"]["created"], planned["plan"]["items"][0]["taskId"]) == (False, 1, None)
    done = await take(gql)
    [item] = done["plan"]["items"]
    assert (done["done"], item["step"], item["savedAs"], item["schedulesAdded"]) == (True, "CREATE", "Greet Ada", 1)
    found = await gql("query ($id: ID!) { task(id: $id) { name revisions { nodes { change } } } }", id=item["taskId"])
    assert found["task"] == {"name": "Greet Ada", "revisions": {"nodes": [{"change": "IMPORTED"}]}}
    assert (await gql(EXPORT))["exportTasks"] == {
        "__typename": "ExportTasksSuccess", "text": TEXT, "tasks": 1, "schedules": 1
    }  # fmt: skip
    as_json = {"format": "JSON", "select": {"ids": [item["taskId"]]}}
    text = (await gql(EXPORT, input=as_json))["exportTasks"]["text"]
    assert (await take(gql, text, onConflict="REPLACE"))["plan"]["unchanged"] == 1
    assert (await take(gql, text, onConflict="RENAME"))["plan"]["renamed"] == 1
    assert (await gql(EXPORT, input={"select": {"filter": {"groups": ["other"]}}}))["exportTasks"]["tasks"] == 0


async def test_problems_are_data_and_nothing_is_stored(gql: GraphQLClient) -> None:
    wrong = TEXT.replace("whom: Ada", "times: 3").replace("definitionId: greet", "definitionId: greet")
    refused = await take(gql, wrong)
    assert (refused["__typename"], refused["code"], refused["path"]) == (
        "ImportImpossible", "IMPORT_IMPOSSIBLE", ["input", "text"]
    )  # fmt: skip
    problem = {"path": ["tasks", "0", "input", "whom"], "code": "INVALID_TASK_INPUT"}
    assert refused["plan"]["problems"] == [problem]
    secret = await take(gql, TEXT.replace("definitionId: greet", "definitionId: secret-work"), dryRun=True)
    assert secret["plan"]["problems"][0]["code"] == "TASK_DEFINITION_NOT_FOUND"
    unread = await take(gql, "version: 1\ntasks: &all []\n")
    assert (unread["__typename"], unread["path"]) == ("InvalidArgument", ["input", "text"])
    assert (await gql(EXPORT))["exportTasks"]["tasks"] == 0


async def test_the_examples_of_the_page_on_export_work(gql: GraphQLClient) -> None:
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    [text] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    [example] = re.findall(r"```graphql\n(.*?)```", page, re.DOTALL)
    query, mutation = example.split("\n\n")
    text = text.replace("checksum-tree", "greet").replace("root: /data", "whom: Ada")
    planned = (await gql(mutation, text=text))["importTasks"]
    assert planned["plan"] == {"created": 1, "replaced": 0, "skipped": 0, "problems": []}
    await take(gql, text)
    assert (await gql(query))["exportTasks"]["schedules"] == 1
