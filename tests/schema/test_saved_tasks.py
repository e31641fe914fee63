"""Saved tasks by GraphQL: every mutation with its refusals, lists, and what stands below a task and a run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.schema.conftest import GraphQLClient
from tests.schema.hand_worker import HandWorker

TASK = """
    id name description definitionId input tags group owner { id kind } enabled priority queue timeoutSeconds
    maxAttempts retry { firstDelaySeconds factor longestDelaySeconds jitter } entityType entityId entityUrl version
    createdBy { id } updatedBy { id } health definition { title category triggers cooldownSeconds }"""
ERRORS = """
    ... on Error { code message path }
    ... on TaskNameTaken { taskId }
    ... on InvalidTaskInput { issues { path } }"""
RESULT = f"__typename ... on SaveTaskSuccess {{ task {{ {TASK} }} }} {ERRORS}"
RUN = """
    __typename ... on Error { code message path }
    ... on TriggerTaskSuccess { deduplicated run { id name input tags task { id name deletedAt }
        taskRevision { version change } } }"""
UPDATE = "mutation ($i: UpdateTaskInput!) { updateTask(input: $i) { __typename } }"
NOBODY = "0199c0de-0000-7000-8000-000000000000"


async def create(gql: GraphQLClient, name: str = "Nightly", **fields: Any) -> dict[str, Any]:
    given = {"name": name, "definitionId": "greet", "input": {"whom": "Ada"}, **fields}
    data = await gql(f"mutation ($i: CreateTaskInput!) {{ createTask(input: $i) {{ {RESULT} }} }}", i=given)
    return data["createTask"]


async def update(gql: GraphQLClient, id: str, version: int, **changes: Any) -> dict[str, Any]:
    given = {"id": id, "version": version, **changes}
    conflict = "... on TaskConflict { version changedBy { id } changedAt fields }"
    data = await gql(f"mutation ($i: UpdateTaskInput!) {{ updateTask(input: $i) {{ {RESULT} {conflict} }} }}", i=given)
    return data["updateTask"]


async def execute(gql: GraphQLClient, id: str, **overrides: Any) -> dict[str, Any]:
    query = f"mutation ($i: ExecuteTaskInput!) {{ executeTask(input: $i) {{ {RUN} }} }}"
    return (await gql(query, i={"id": id, **overrides}))["executeTask"]


async def test_a_task_is_created_with_every_field(gql: GraphQLClient) -> None:
    fields = {
        "description": "Every night", "tags": ["a"], "group": "g", "owner": "SERVICE:billing", "enabled": False,
        "priority": 3, "queue": "mail", "timeoutSeconds": 60, "maxAttempts": 4, "entityType": "customer",
        "entityId": "42", "entityUrl": "https://example.com/42",
    }  # fmt: skip
    retry = {"firstDelaySeconds": 2, "factor": 3, "longestDelaySeconds": 60, "jitter": False}
    task = (await create(gql, retry=retry, **fields))["task"]
    assert {name: task[name] for name in fields if name != "owner"} == {
        name: value for name, value in fields.items() if name != "owner"
    }
    assert (task["owner"], task["retry"]) == ({"id": "billing", "kind": "SERVICE"}, retry)
    assert (task["health"], task["version"], task["createdBy"]) == ("DISABLED", 1, {"id": "local-admin"})
    assert task["definition"] == {
        "title": "Greet somebody", "category": None, "triggers": "BOTH", "cooldownSeconds": None,
    }  # fmt: skip
    assert await gql("query ($id: ID!) { task(id: $id) { name } }", id=task["id"]) == {"task": {"name": "Nightly"}}


@pytest.mark.parametrize(
    ("fields", "code", "path"),
    [
        ({"definitionId": "nothing"}, "TASK_DEFINITION_NOT_FOUND", ["input", "definitionId"]),
        ({"definitionId": "secret-work", "input": None}, "TASK_DEFINITION_NOT_FOUND", ["input", "definitionId"]),
        ({"input": {"whom": ""}}, "INVALID_TASK_INPUT", ["input", "input", "whom"]),
        ({"owner": "ada"}, "BAD_USER_INPUT", ["input", "owner"]),
        ({"retry": {"factor": 0}}, "BAD_USER_INPUT", ["input", "retry", "factor"]),
        ({"name": "Taken"}, "TASK_NAME_TAKEN", ["input", "name"]),
    ],
)
async def test_what_cannot_be_saved_is_refused_by_name(
    gql: GraphQLClient, fields: dict[str, Any], code: str, path: list[str]
) -> None:
    await create(gql, "Taken")
    refused = await create(gql, **fields)
    assert (refused["code"], refused["path"]) == (code, path)


async def test_an_update_changes_what_is_given_and_null_goes_back_to_nothing(gql: GraphQLClient) -> None:
    task = (await create(gql, priority=5, tags=["a"], retry={}))["task"]
    changed = (await update(gql, task["id"], 1, priority=None, retry=None, enabled=False))["task"]
    assert (changed["priority"], changed["retry"], changed["enabled"], changed["tags"]) == (None, None, False, ["a"])
    refused = await update(gql, task["id"], 1, name="Other")
    assert refused["__typename"] == "TaskConflict"
    assert (refused["version"], refused["changedBy"]) == (2, {"id": "local-admin"})
    assert refused["fields"] == ["enabled", "priority", "retry"]
    assert "(enabled, priority, retry)" in refused["message"]
    assert (await update(gql, NOBODY, 1))["code"] == "TASK_NOT_FOUND"


@pytest.mark.parametrize(
    ("query", "variables", "says"),
    [
        ("mutation { updateTask(input: {id: 1, version: 1, name: null}) { __typename } }", {}, "'name' cannot be null"),
        (UPDATE, {"i": {"id": "1", "version": 1, "enabled": None}}, "'enabled' cannot be null: give a value, or leave"),
        (UPDATE, {"i": {"id": True, "version": 1}}, "ID cannot represent value: true"),
        (UPDATE, {"i": {"id": None, "version": "None"}}, "non-null type 'ID!' not to be null"),
        (UPDATE, {"i": {"None": None}}, "unknown field 'None'. Did you mean 'name'? Found: {'None': null}"),
    ],
)
async def test_a_value_that_cannot_be_is_named_in_the_words_of_graphql(
    gql: GraphQLClient, query: str, variables: dict[str, Any], says: str
) -> None:
    errors = (await gql.answer(query, **variables))["errors"]
    assert {error["extensions"]["code"] for error in errors} == {"BAD_USER_INPUT"}
    assert any(says in error["message"] for error in errors), errors


async def test_copies_deletions_and_restorations_are_revisions(gql: GraphQLClient) -> None:
    task = (await create(gql))["task"]
    await update(gql, task["id"], 1, name="Daily", tags=["x"])
    copy = await gql(
        f"mutation ($i: DuplicateTaskInput!) {{ duplicateTask(input: $i) {{ {RESULT} }} }}", i={"id": task["id"]}
    )
    assert copy["duplicateTask"]["task"]["name"] == "Daily (copy)"
    delete = "mutation ($i: DeleteTaskInput!) { deleteTask(input: $i) { __typename ... on Error { code } } }"
    assert (await gql(delete, i={"id": task["id"], "version": 1}))["deleteTask"]["code"] == "TASK_CONFLICT"
    assert (await gql(delete, i={"id": task["id"]}))["deleteTask"]["__typename"] == "DeleteTaskSuccess"
    assert (await gql(delete, i={"id": task["id"]}))["deleteTask"]["code"] == "TASK_NOT_FOUND"
    restore = f"mutation ($i: RestoreTaskRevisionInput!) {{ restoreTaskRevision(input: $i) {{ {RESULT} }} }}"
    back = (await gql(restore, i={"id": task["id"], "revision": 1}))["restoreTaskRevision"]
    assert (back["task"]["name"], back["task"]["version"]) == ("Nightly", 4)
    missing = (await gql(restore, i={"id": task["id"], "revision": 9}))["restoreTaskRevision"]
    assert missing["code"] == "TASK_REVISION_NOT_FOUND"
    data = await gql(
        """query ($id: ID!) { task(id: $id) { revisions(first: 3) { totalCount pageInfo { hasNextPage endCursor }
            nodes { version change sourceVersion changedBy { id } changes { field before after } } } } }""",
        id=task["id"],
    )
    revisions = data["task"]["revisions"]
    assert (revisions["totalCount"], revisions["pageInfo"]["hasNextPage"]) == (4, True)
    assert [(node["version"], node["change"]) for node in revisions["nodes"]] == [
        (4, "RESTORED"), (3, "DELETED"), (2, "UPDATED"),
    ]  # fmt: skip
    assert revisions["nodes"][0]["sourceVersion"] == 1
    assert revisions["nodes"][2]["changes"] == [
        {"field": "name", "before": "Nightly", "after": "Daily"},
        {"field": "tags", "before": [], "after": ["x"]},
    ]


async def test_a_task_is_executed_with_and_without_overrides(gql: GraphQLClient) -> None:
    task = (await create(gql, tags=["a"]))["task"]
    run = (await execute(gql, task["id"]))["run"]
    assert (run["name"], run["input"], run["tags"]) == ("Nightly", {"whom": "Ada"}, ["a"])
    assert run["task"] == {"id": task["id"], "name": "Nightly", "deletedAt": None}
    assert run["taskRevision"] == {"version": 1, "change": "CREATED"}
    run = (await execute(gql, task["id"], input={"times": 2}, name="Once", tags=["b"]))["run"]
    assert (run["name"], run["input"], run["tags"]) == ("Once", {"whom": "Ada", "times": 2}, ["a", "b"])
    run = (await execute(gql, task["id"], input={"whom": "Bob"}, replaceInput=True, delaySeconds=60))["run"]
    assert run["input"] == {"whom": "Bob"}
    assert (await execute(gql, task["id"], input={"whom": None}))["code"] == "INVALID_TASK_INPUT"
    assert (await execute(gql, NOBODY))["code"] == "TASK_NOT_FOUND"
    await update(gql, task["id"], 1, enabled=False)
    assert (await execute(gql, task["id"]))["code"] == "TASK_DISABLED"
    assert (await execute(gql, task["id"], force=True))["__typename"] == "TriggerTaskSuccess"


async def test_an_execution_says_what_becomes_of_it_while_its_unique_key_is_taken(gql: GraphQLClient) -> None:
    task = (await create(gql))["task"]
    first = (await execute(gql, task["id"], uniqueKey="u"))["run"]
    assert (await execute(gql, task["id"], uniqueKey="u"))["code"] == "UNIQUE_CONFLICT"
    assert (await execute(gql, task["id"], uniqueKey="u", uniquePolicy="RETURN_EXISTING"))["run"]["id"] == first["id"]
    replaced = (await execute(gql, task["id"], uniqueKey="u", uniquePolicy="REPLACE"))["run"]
    assert replaced["id"] != first["id"]
    assert (await execute(gql, task["id"], uniquePolicy="REPLACE"))["code"] == "BAD_USER_INPUT"


async def test_a_list_shows_last_runs_and_stats_with_few_statements(
    gql: GraphQLClient, worker: HandWorker, statements: list[str]
) -> None:
    ids = [(await create(gql, f"t{n}"))["task"]["id"] for n in range(3)]
    run = (await execute(gql, ids[0]))["run"]
    statements.clear()
    data = await gql(
        """{ tasks(first: 2) { totalCount pageInfo { hasNextPage endCursor } nodes { name health ...More
            lastRun { id status } stats { runs succeeded successRate } runs(first: 1) { totalCount } }
            edges { node { nextRunAt lastRun { createdBy { id } } } } } }
        fragment More on Task { nextRunAt again: lastRun { id durationMs } }"""
    )
    tasks = data["tasks"]
    assert (tasks["totalCount"], [task["name"] for task in tasks["nodes"]]) == (3, ["t0", "t1"])
    assert tasks["nodes"][0]["lastRun"] == {"id": run["id"], "status": "QUEUED"}
    assert tasks["nodes"][0]["again"] == {"id": run["id"], "durationMs": None}
    assert tasks["edges"][0]["node"] == {"nextRunAt": None, "lastRun": {"createdBy": {"id": "local-admin"}}}
    assert tasks["nodes"][1]["lastRun"] is None
    assert tasks["nodes"][0]["stats"] == {"runs": 1, "succeeded": 0, "successRate": None}
    # The page and its total; last and next runs; stats; runs with their total. Each once, wherever it is shown.
    assert len([statement for statement in statements if statement.startswith("SELECT")]) == 7
    after = tasks["pageInfo"]["endCursor"]
    rest = await gql("query ($after: String!) { tasks(after: $after) { nodes { name } } }", after=after)
    assert rest["tasks"]["nodes"] == [{"name": "t2"}]


async def test_tasks_are_searched_filtered_and_asked_for_quickly(gql: GraphQLClient) -> None:
    await create(gql, "Nightly report", tags=["night"])
    await create(gql, "Weekly", enabled=False)

    async def names(arguments: str) -> list[str]:
        return [
            node["name"] for node in (await gql(f"{{ tasks({arguments}) {{ nodes {{ name }} }} }}"))["tasks"]["nodes"]
        ]

    assert await names('search: "nihgtly"') == ["Nightly report"]
    assert await names("filter: {health: [DISABLED]}") == ["Weekly"]
    assert await names("filter: {not: {enabled: false}}") == ["Nightly report"]
    assert await names("filter: {triggers: [SCHEDULED, ON_DEMAND]}") == []
    assert await names('filter: {tags: {any: ["night"]}}, quick: MINE') == ["Nightly report"]
    assert await names("orderBy: {field: CREATED_AT, direction: DESC}") == ["Weekly", "Nightly report"]
    assert await names("quick: RUNNING") == []
    assert await names('filter: {search: "nihgtly", quick: MINE}') == ["Nightly report"]
    assert await names('filter: {search: "weekly"}, quick: RUNNING') == []
    suggested = await gql('{ tagSuggestions(prefix: "NI") ownerSuggestions(prefix: "local") { id name } }')
    assert suggested["tagSuggestions"] == ["night"]
    assert suggested["ownerSuggestions"] == [{"id": "local-admin", "name": "Local administrator"}]


@pytest.mark.parametrize(
    "query",
    [
        '{ task(id: "x") { id } }',
        '{ tasks(filter: {ids: ["x"]}) { nodes { id } } }',
        '{ tasks(quick: FAILED_TODAY, timeZone: "Mars") { nodes { id } } }',
        "{ tasks(orderBy: {field: RELEVANCE}) { nodes { id } } }",
        '{ tasks(after: "x") { nodes { id } } }',
        '{ tasks(filter: {search: "a"}, search: "b") { nodes { id } } }',
        '{ tasks(filter: {or: [{search: "a"}, {quick: MINE}]}) { nodes { id } } }',
        "{ tasks(filter: {not: {quick: MINE}}) { nodes { id } } }",
        '{ tagSuggestions(prefix: "", first: 0) }',
    ],
)
async def test_bad_arguments_are_refused_by_name(gql: GraphQLClient, query: str) -> None:
    assert (await gql.error(query))["code"] == "BAD_USER_INPUT"
