"""Saved searches: checked when they are saved, seen by their owner or by all, and changed by their owner alone."""

from __future__ import annotations

from typing import Any

import pytest

from app.auth import Principal, PrincipalKind
from app.main import Server
from app.models import SavedSearchKind
from app.task_errors import SavedSearchNotFound
from tests.schema.conftest import GraphQLClient

BOB = Principal(PrincipalKind.USER, "bob")
RESULT = """__typename ... on Error { code message path }
    ... on SaveSearchSuccess { search { id name kind filter shared owner { id } } }"""


async def create(gql: GraphQLClient, name: str = "Failed", kind: str = "RUNS", filter: Any = None, **more: Any) -> Any:
    given = {"name": name, "kind": kind, "filter": {"statuses": ["FAILED"]} if filter is None else filter, **more}
    query = f"mutation ($i: CreateSavedSearchInput!) {{ createSavedSearch(input: $i) {{ {RESULT} }} }}"
    return (await gql(query, i=given))["createSavedSearch"]


async def update(gql: GraphQLClient, **given: Any) -> Any:
    query = f"mutation ($i: UpdateSavedSearchInput!) {{ updateSavedSearch(input: $i) {{ {RESULT} }} }}"
    return (await gql(query, i=given))["updateSavedSearch"]


async def names(gql: GraphQLClient, arguments: str = "") -> list[str]:
    return [search["name"] for search in (await gql(f"{{ savedSearches{arguments} {{ name }} }}"))["savedSearches"]]


async def test_a_search_is_kept_changed_and_deleted(gql: GraphQLClient) -> None:
    search = (await create(gql))["search"]
    assert (search["filter"], search["shared"], search["owner"]) == (
        {"statuses": ["FAILED"]}, False, {"id": "local-admin"},
    )  # fmt: skip
    await create(gql, "Mine", "TASKS", {"health": ["FAILING"], "not": {"enabled": False}})
    assert await names(gql) == ["Failed", "Mine"]
    assert await names(gql, "(kind: TASKS)") == ["Mine"]
    words = {"search": "nightly", "quick": "FAILED_TODAY", "groups": ["g"]}
    kept = (await create(gql, "Nights", "TASKS", words))["search"]
    query = "query ($f: TaskFilter) { tasks(filter: $f) { nodes { id } } }"
    assert await gql(query, f=kept["filter"]) == {"tasks": {"nodes": []}}
    changed = await update(gql, id=search["id"], name="Lost", filter={"statuses": ["LOST"]}, shared=True)
    assert (changed["search"]["name"], changed["search"]["filter"]) == ("Lost", {"statuses": ["LOST"]})
    delete = "mutation ($i: DeleteSavedSearchInput!) { deleteSavedSearch(input: $i) { __typename } }"
    assert (await gql(delete, i={"id": search["id"]}))["deleteSavedSearch"]["__typename"] == "DeleteSavedSearchSuccess"
    assert (await gql(delete, i={"id": search["id"]}))["deleteSavedSearch"]["__typename"] == "SavedSearchNotFound"
    used = await gql("query ($f: TaskRunFilter) { taskRuns(filter: $f) { nodes { id } } }", f=search["filter"])
    assert used == {"taskRuns": {"nodes": []}}


@pytest.mark.parametrize(
    ("kind", "filter", "says"),
    [
        ("RUNS", {"statuses": ["BROKEN"]}, "statuses.0"),
        ("RUNS", {"nothing": 1}, "nothing"),
        ("TASKS", {"statuses": ["FAILED"]}, "statuses"),
        ("TASKS", [], "TaskFilter"),
        ("TASKS", "text", "TaskFilter"),
        ("TASKS", [None, True, "None"], "[null, true, 'None']"),
    ],
)
async def test_what_is_no_filter_of_its_kind_is_not_saved(
    gql: GraphQLClient, kind: str, filter: Any, says: str
) -> None:
    refused = await create(gql, kind=kind, filter=filter)
    assert (refused["code"], refused["path"]) == ("BAD_USER_INPUT", ["input", "filter"])
    assert says in refused["message"]
    assert await names(gql) == []


async def test_a_refusal_quotes_little_of_a_long_filter(gql: GraphQLClient) -> None:
    refused = await create(gql, kind="RUNS", filter={"k" * 100_000: 1})
    assert refused["code"] == "BAD_USER_INPUT"
    assert len(refused["message"]) < 600


async def test_names_are_unique_among_the_searches_of_an_owner_and_a_kind(gql: GraphQLClient) -> None:
    await create(gql)
    assert (await create(gql))["code"] == "SAVED_SEARCH_NAME_TAKEN"
    assert "search" in await create(gql, kind="TASKS", filter={})
    other = (await create(gql, "Other"))["search"]
    assert (await update(gql, id=other["id"], name="Failed"))["code"] == "SAVED_SEARCH_NAME_TAKEN"
    assert (await create(gql, ""))["code"] == "BAD_USER_INPUT"


async def test_others_see_what_is_shared_and_change_nothing(gql: GraphQLClient, server: Server) -> None:
    own = (await create(gql))["search"]
    searches = server.service.searches
    assert await searches.list(principal=BOB) == []
    await update(gql, id=own["id"], shared=True)
    assert [search.name for search in await searches.list(SavedSearchKind.RUNS, principal=BOB)] == ["Failed"]
    with pytest.raises(SavedSearchNotFound):
        await searches.update(own["id"], name="Bob's", principal=BOB)
    with pytest.raises(SavedSearchNotFound):
        await searches.delete(own["id"], principal=BOB)
