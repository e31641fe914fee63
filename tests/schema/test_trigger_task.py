"""``triggerTask``: what it stores, and everything that it refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.main import Server
from app.registry import registry
from tests.schema.conftest import TRIGGER, GraphQLClient

UNKNOWN_RUN = "0197c3a5-6f2e-7b6a-9a55-3f7b1d2c4e10"


async def count_runs(gql: GraphQLClient) -> int:
    """How many runs there are."""
    return (await gql("{ taskRuns { totalCount } }"))["taskRuns"]["totalCount"]


async def test_a_trigger_stores_a_run_with_the_settings_of_its_definition(gql: GraphQLClient) -> None:
    result = await gql.trigger(input={"whom": "Ada"})
    run = result["run"]
    assert result["__typename"] == "TriggerTaskSuccess"
    assert result["deduplicated"] is False
    assert (run["status"], run["name"], run["priority"], run["queue"]) == ("QUEUED", "Greet somebody", 0, "default")
    assert (run["timeoutSeconds"], run["maxAttempts"], run["expiresAt"], run["parent"]) == (60.0, 3, None, None)
    assert run["createdBy"] == {"id": "local-admin", "kind": "USER", "name": "Local administrator"}
    assert run["input"]["whom"] == "Ada"


async def test_a_trigger_can_override_everything(gql: GraphQLClient) -> None:
    parent = await gql.run()
    run = (
        await gql.trigger(
            name="Nightly",
            delaySeconds=3600,
            priority=9,
            tags=["a", "b"],
            queue="slow",
            parentId=parent,
            timeoutSeconds=1.5,
            maxAttempts=7,
            ttlSeconds=60,
            uniqueKey="one",
            idempotencyKey="key",
        )
    )["run"]
    assert (run["name"], run["status"], run["priority"], run["tags"]) == ("Nightly", "SCHEDULED", 9, ["a", "b"])
    assert (run["queue"], run["parent"]["id"], run["timeoutSeconds"], run["maxAttempts"]) == ("slow", parent, 1.5, 7)
    assert (run["uniqueKey"], run["idempotencyKey"]) == ("one", "key")
    start, expiry = (datetime.fromisoformat(run[name]) for name in ("startAt", "expiresAt"))
    assert start - datetime.fromisoformat(run["createdAt"]) == timedelta(hours=1)
    assert expiry - start == timedelta(minutes=1)


async def test_a_start_time_with_an_offset_is_kept_as_the_same_moment(gql: GraphQLClient) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    run = (await gql.trigger(startAt=tomorrow.isoformat().replace("+00:00", "Z")))["run"]
    assert run["startAt"] == tomorrow.strftime("%Y-%m-%dT%H:%M:%S.000000Z")


async def test_null_is_the_same_as_left_out(gql: GraphQLClient) -> None:
    nothing = dict.fromkeys(
        ("name", "delaySeconds", "startAt", "priority", "tags", "queue", "parentId", "timeoutSeconds", "maxAttempts",
         "ttlSeconds", "idempotencyKey", "uniqueKey")
    )  # fmt: skip
    assert (await gql.trigger(**nothing))["run"]["name"] == "Greet somebody"


async def test_the_same_idempotency_key_gives_the_same_run(gql: GraphQLClient) -> None:
    first = await gql.trigger(idempotencyKey="k")
    again = await gql.trigger(idempotencyKey="k")
    assert (again["run"]["id"], again["deduplicated"]) == (first["run"]["id"], True)


async def test_the_same_idempotency_key_with_another_input_is_a_conflict(gql: GraphQLClient) -> None:
    first = await gql.trigger(idempotencyKey="k")
    refusal = await gql.trigger(idempotencyKey="k", input={"whom": "Grace"})
    assert (refusal["__typename"], refusal["code"]) == ("IdempotencyConflict", "IDEMPOTENCY_CONFLICT")
    assert refusal["runId"] == first["run"]["id"]


async def test_a_unique_key_is_held_by_one_live_run(gql: GraphQLClient) -> None:
    first = await gql.trigger(uniqueKey="k")
    refusal = await gql.trigger(uniqueKey="k")
    assert (refusal["__typename"], refusal["runId"]) == ("UniqueConflict", first["run"]["id"])
    assert refusal["path"] == ["input", "uniqueKey"]


async def test_a_unique_key_that_is_taken_gives_its_run_or_passes_over_as_the_policy_says(gql: GraphQLClient) -> None:
    first = await gql.trigger(uniqueKey="k", uniquePolicy="REPLACE")
    again = await gql.trigger(uniqueKey="k", uniquePolicy="RETURN_EXISTING")
    assert (again["run"]["id"], again["deduplicated"]) == (first["run"]["id"], True)
    second = await gql.trigger(uniqueKey="k", uniquePolicy="REPLACE")
    assert (second["deduplicated"], second["run"]["id"] != first["run"]["id"]) == (False, True)
    refusal = await gql.trigger(uniquePolicy="REPLACE")
    assert (refusal["__typename"], refusal["path"]) == ("InvalidArgument", ["input", "uniquePolicy"])


async def test_an_unknown_definition_is_refused_with_a_hint(gql: GraphQLClient) -> None:
    refusal = await gql.trigger("gret")
    assert (refusal["__typename"], refusal["code"]) == ("TaskDefinitionNotFound", "TASK_DEFINITION_NOT_FOUND")
    assert "taskDefinitions lists those there are" in refusal["message"]
    assert refusal["path"] == ["input", "definitionId"]


async def test_a_private_definition_does_not_exist_for_clients(gql: GraphQLClient) -> None:
    assert (await gql.trigger("secret-work", {}))["__typename"] == "TaskDefinitionNotFound"


async def test_input_that_does_not_fit_names_every_issue_with_its_place(gql: GraphQLClient) -> None:
    refusal = await gql.trigger(input={"whom": "", "times": 11})
    assert refusal["__typename"] == "InvalidTaskInput"
    assert [issue["path"] for issue in refusal["issues"]] == [["whom"], ["times"]]
    assert all(issue["message"] and issue["type"] for issue in refusal["issues"])
    assert refusal["path"] == ["input", "input", "whom"]


async def test_before_trigger_refuses_in_its_own_words(gql: GraphQLClient) -> None:
    refusal = await gql.trigger("guarded", {"whom": "Ada", "mood": "cool"})
    assert (refusal["__typename"], refusal["message"]) == ("TriggerRefused", "Only warm greetings today.")


async def test_a_definition_with_a_check_that_this_server_has_not_loaded_is_refused(
    gql: GraphQLClient, server: Server
) -> None:
    code = registry.get("guarded")
    assert code is not None
    registry.remove("guarded")
    try:
        refusal = await gql.trigger("guarded")
    finally:
        registry.add(code)
    assert refusal["__typename"] == "CodeNotLoaded"
    assert "TASKLOOM_TASKS" in refusal["message"]


@pytest.mark.parametrize(
    ("arguments", "field", "allowed"),
    [
        ({"delaySeconds": 5, "startAt": "2030-01-01T00:00:00Z"}, "delaySeconds", "not both"),
        ({"delaySeconds": -1}, "delaySeconds", "0 or more"),
        ({"delaySeconds": 1e300}, "delaySeconds", "at most"),
        ({"startAt": "9999-12-31T23:59:59Z"}, "startAt", "10 years"),
        ({"timeoutSeconds": 0}, "timeoutSeconds", "above 0"),
        ({"ttlSeconds": -3}, "ttlSeconds", "above 0"),
        ({"priority": 1001}, "priority", "-1000 to 1000"),
        ({"maxAttempts": 0}, "maxAttempts", "1 to 1000"),
        ({"name": ""}, "name", "1 to 200"),
        ({"name": "a\x00b"}, "name", "NUL"),
        ({"name": "x" * 201}, "name", "1 to 200"),
        ({"tags": ["a", "a"]}, "tags", "twice"),
        ({"tags": [str(n) for n in range(51)]}, "tags", "at most 50"),
        ({"queue": "Not A Queue"}, "queue", "lower-case"),
        ({"idempotencyKey": ""}, "idempotencyKey", "1 to 255"),
        ({"uniqueKey": "x" * 256}, "uniqueKey", "1 to 255"),
    ],
)
async def test_an_argument_out_of_bounds_is_refused_with_what_is_allowed(
    gql: GraphQLClient, arguments: dict[str, Any], field: str, allowed: str
) -> None:
    refusal = await gql.trigger(**arguments)
    assert (refusal["__typename"], refusal["code"]) == ("InvalidArgument", "BAD_USER_INPUT")
    assert refusal["path"] == ["input", field]
    assert allowed in refusal["message"]
    assert await count_runs(gql) == 0


@pytest.mark.parametrize("parent", ["not-a-uuid", "", UNKNOWN_RUN])
async def test_a_parent_that_is_no_run_is_refused(gql: GraphQLClient, parent: str) -> None:
    refusal = await gql.trigger(parentId=parent)
    assert (refusal["__typename"], refusal["path"]) == ("TaskRunNotFound", ["input", "parentId"])
    assert await count_runs(gql) == 0


async def test_an_input_above_the_limit_is_refused_with_the_limit(gql: GraphQLClient) -> None:
    refusal = await gql.trigger(input={"whom": "x" * 10_000_000})
    assert (refusal["__typename"], refusal["path"]) == ("InvalidArgument", ["input", "input"])
    assert "262144" in refusal["message"].replace(",", "")
    assert await count_runs(gql) == 0


async def test_a_nul_character_in_the_input_is_refused(gql: GraphQLClient) -> None:
    refusal = await gql.trigger(input={"whom": "a\x00b"})
    assert refusal["__typename"] == "InvalidArgument"
    assert "NUL" in refusal["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["delaySeconds", "input"])
async def test_a_number_that_is_not_finite_is_refused(gql: GraphQLClient, http: Any, number: str, field: str) -> None:
    body = '{"query": %s, "variables": {"input": {"definitionId": "greet", "%s": %s}}}'
    query = '"{}"'.format(" ".join(TRIGGER.split()))
    content = (body % (query, field, number)).encode()
    response = await http.post("/graphql", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    assert await count_runs(gql) == 0


@pytest.mark.parametrize(
    ("literal", "allowed"),
    [
        ("1e999", "NaN and Infinity are not JSON"),
        ("123456789012345678901234567890", "at most 64 bits"),
        ("[" * 300 + "]" * 300, "nested too deeply"),
    ],
)
async def test_a_literal_that_json_cannot_carry_is_refused(gql: GraphQLClient, literal: str, allowed: str) -> None:
    query = 'mutation { triggerTask(input: {definitionId: "greet", input: {whom: %s}}) { __typename } }'
    error = await gql.error(query % literal)
    assert allowed in error["message"]
    assert await count_runs(gql) == 0


async def test_a_time_without_an_offset_is_refused_with_an_example(gql: GraphQLClient) -> None:
    error = await gql.error(TRIGGER, input={"definitionId": "greet", "startAt": "2030-01-01T00:00:00"})
    assert error["code"] == "BAD_USER_INPUT"
    assert "RFC 3339 text with an offset, as in '2026-03-01T09:30:00Z'" in error["message"]
    assert await count_runs(gql) == 0
