"""``taskDefinition``, ``taskDefinitions``, ``validateTaskInput``, ``workers`` and ``viewer``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.schema.conftest import GraphQLClient
from tests.schema.hand_worker import HandWorker

DEFINITION = """
    query ($id: ID!) { taskDefinition(id: $id) {
      id title description inputSchema outputSchema version queue priority tags maxIterations maxAttempts
      timeoutSeconds isAvailable runs(first: 1) { nodes { id } }
    } }"""
VALIDATE = """
    query ($id: ID!, $input: JSON!) { validateTaskInput(definitionId: $id, input: $input) {
      __typename
      ... on ValidateTaskInputSuccess { isValid issues { path message type } }
      ... on Error { message code path }
    } }"""


async def ids(gql: GraphQLClient, filter: Any = None) -> list[str]:
    """The ids of the tests' definitions on the list."""
    query = "query ($filter: TaskDefinitionFilter) { taskDefinitions(filter: $filter) { nodes { id } totalCount } }"
    nodes = (await gql(query, filter=filter))["taskDefinitions"]["nodes"]
    return [node["id"] for node in nodes if node["id"] in ("greet", "guarded", "plain", "secret-work")]


async def test_a_definition_shows_its_schemas_and_defaults(gql: GraphQLClient) -> None:
    definition = (await gql(DEFINITION, id="greet"))["taskDefinition"]
    assert (definition["title"], definition["description"]) == ("Greet somebody", "Says hello.")
    assert definition["inputSchema"]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert definition["inputSchema"]["required"] == ["whom"]
    assert definition["outputSchema"]["properties"].keys() == {"said"}
    assert (definition["queue"], definition["priority"], definition["tags"]) == ("default", 0, ["polite"])
    assert (definition["maxIterations"], definition["maxAttempts"], definition["timeoutSeconds"]) == (500, 3, 60.0)
    assert (definition["isAvailable"], definition["runs"]["nodes"]) == (False, [])


@pytest.mark.parametrize("id", ["nobody", "", "a\x00b", "x" * 5000])
async def test_a_definition_that_is_not_published_is_null(gql: GraphQLClient, id: str) -> None:
    assert await gql(DEFINITION, id=id) == {"taskDefinition": None}


async def test_definitions_are_listed_by_id_and_private_ones_are_hidden(gql: GraphQLClient) -> None:
    assert await ids(gql) == ["greet", "guarded", "plain"]


async def test_definitions_can_be_filtered(gql: GraphQLClient) -> None:
    assert await ids(gql, {"ids": ["plain", "secret-work"]}) == ["plain"]
    assert await ids(gql, {"queues": ["slow"]}) == ["plain"]
    assert await ids(gql, {"tags": {"any": ["polite"]}}) == ["greet"]
    assert await ids(gql, {"title": {"contains": "GREET"}}) == ["greet", "guarded"]
    assert await ids(gql, {"categories": ["Guards", "Other"]}) == ["guarded"]
    assert await ids(gql, {"triggers": ["SCHEDULED"]}) == []
    assert await ids(gql, {"triggers": ["BOTH"], "categories": ["Guards"]}) == ["guarded"]


@pytest.mark.parametrize(
    "filter", [{"ids": ["a\x00b"]}, {"queues": ["\x00"]}, {"tags": {"all": ["\x00"]}}, {"title": {"eq": "\x00"}}]
)
async def test_a_filter_with_a_nul_character_is_refused(gql: GraphQLClient, filter: dict[str, Any]) -> None:
    query = "query ($filter: TaskDefinitionFilter) { taskDefinitions(filter: $filter) { nodes { id } } }"
    error = await gql.error(query, filter=filter)
    assert (error["code"], "NUL" in error["message"]) == ("BAD_USER_INPUT", True)


async def test_definitions_are_paged(gql: GraphQLClient) -> None:
    query = """query ($after: String) { taskDefinitions(first: 1, after: $after) {
        nodes { id } totalCount pageInfo { hasNextPage endCursor } } }"""
    seen: list[str] = []
    after = None
    while True:
        page = (await gql(query, after=after))["taskDefinitions"]
        seen += [node["id"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == sorted(seen)
    assert len(seen) == page["totalCount"]


async def test_a_definition_is_available_while_a_live_worker_serves_it(gql: GraphQLClient, worker: HandWorker) -> None:
    query = '{ taskDefinition(id: "greet") { isAvailable } }'
    assert await gql(query) == {"taskDefinition": {"isAvailable": True}}
    await worker.lifecycle.leave()
    assert await gql(query) == {"taskDefinition": {"isAvailable": False}}


async def test_live_workers_show_where_they_are_and_what_they_do(gql: GraphQLClient, worker: HandWorker) -> None:
    query = """{ workers { id host pid queues definitionIds capacity running startedAt lastSeenAt isDraining } }"""
    await worker.beat(draining=True)
    [found] = (await gql(query))["workers"]
    assert found["id"] == str(worker.claimant.owner)
    assert (found["host"], found["pid"], found["queues"]) == ("testhost", 4711, ["default"])
    assert (found["capacity"], found["running"], found["isDraining"]) == (8, 1, True)
    assert "greet" in found["definitionIds"]
    await worker.lifecycle.leave()
    assert await gql(query) == {"workers": []}


async def test_an_input_can_be_checked_without_triggering(gql: GraphQLClient) -> None:
    good = await gql(VALIDATE, id="greet", input={"whom": "Ada"})
    assert good["validateTaskInput"] == {"__typename": "ValidateTaskInputSuccess", "isValid": True, "issues": []}
    bad = (await gql(VALIDATE, id="greet", input={"times": "many"}))["validateTaskInput"]
    assert bad["isValid"] is False
    assert sorted(issue["path"] for issue in bad["issues"]) == [["times"], ["whom"]]
    assert (await gql("{ taskRuns { totalCount } }"))["taskRuns"]["totalCount"] == 0


@pytest.mark.parametrize("id", ["nobody", "secret-work", "a\x00b"])
async def test_an_input_of_an_unknown_or_private_definition_is_refused(gql: GraphQLClient, id: str) -> None:
    refusal = (await gql(VALIDATE, id=id, input={}))["validateTaskInput"]
    assert (refusal["__typename"], refusal["code"]) == ("TaskDefinitionNotFound", "TASK_DEFINITION_NOT_FOUND")
    assert refusal["path"] == ["definitionId"]


async def test_an_input_too_large_to_trigger_is_too_large_to_check(gql: GraphQLClient) -> None:
    refusal = (await gql(VALIDATE, id="greet", input={"whom": "x" * 300_000}))["validateTaskInput"]
    assert (refusal["__typename"], refusal["code"]) == ("InvalidArgument", "BAD_USER_INPUT")
    assert refusal["path"] == ["input"]


async def test_the_viewer_is_the_local_administrator_of_this_version(gql: GraphQLClient) -> None:
    viewer = (await gql("{ viewer { principal { id kind name } isAnonymous version } }"))["viewer"]
    assert viewer["principal"] == {"id": "local-admin", "kind": "USER", "name": "Local administrator"}
    assert viewer["isAnonymous"] is True
    assert viewer["version"]
