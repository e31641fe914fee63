"""What queries may ask for: depth, aliases, tokens and cost, each refused by name and in no time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import strawberry
from graphql import get_introspection_query
from strawberry.scalars import JSON

from app.schema.documents import MAX_CHARACTERS, MAX_KEPT_CHARACTERS, Documents
from app.schema.execution import Engine
from app.schema.faults import RequestRefused
from app.schema.limits import MAX_ALIASES, VALUES_OF_AN_ITEM, Limits
from app.schema.request import OperationRequest
from app.schema.schema import schema
from app.service.arguments import MAX_TAGS
from app.settings import Settings

if TYPE_CHECKING:
    from app.schema.documents import Operation


@strawberry.type
class Leaf:
    name: str


@strawberry.type
class Tree:
    name: str

    @strawberry.field
    def child(self) -> Tree:
        return self

    @strawberry.field
    def children(self, first: int | None = None, last: int | None = None) -> list[Tree]:
        return []


@strawberry.input
class Wish:
    names: list[str] | None = None
    wishes: list[Wish] | None = None
    free: JSON | None = None


@strawberry.type
class Query:
    @strawberry.field
    def tree(self) -> Tree:
        return Tree(name="root")

    @strawberry.field
    def trees(self, first: int | None = None, last: int | None = None) -> list[Tree]:
        return []

    @strawberry.field
    def wished(self, wish: Wish | None = None) -> str:
        return "yes"


SCHEMA = strawberry.Schema(Query)

# As graphql-js sends it with every option on (GraphiQL's): nine levels of ofType, and isOneOf.
INTROSPECTION = get_introspection_query(
    specified_by_url=True,
    directive_is_repeatable=True,
    schema_description=True,
    input_value_deprecation=True,
    one_of=True,
)


async def no_context(_: object) -> None:
    """The schema needs none."""


def engine(**settings: Any) -> Engine:
    return Engine(SCHEMA, no_context, Settings(**settings))


def ask(engine: Engine, query: str, variables: dict[str, Any] | None = None) -> Operation:
    return engine.prepare(OperationRequest(query, variables or {}, None))


def refused(engine: Engine, query: str, variables: dict[str, Any] | None = None) -> str:
    with pytest.raises(RequestRefused) as caught:
        ask(engine, query, variables)
    [error] = caught.value.errors
    assert error.extensions == {"code": "QUERY_TOO_COMPLEX"}
    return error.message


def nested(depth: int) -> str:
    """A query of that many fields within fields."""
    return "{ tree " + "{ child " * (depth - 2) + "{ name }" + " }" * (depth - 1)


def bomb(levels: int, body: str) -> str:
    """Fragments that each spread the next one, as the body says."""
    fragments = [f"fragment F{n} on Tree {{ {body.replace('NEXT', f'...F{n + 1}')} }}" for n in range(levels)]
    return " ".join(["{ tree { ...F0 } }", *fragments, f"fragment F{levels} on Tree {{ name }}"])


# --- Depth ----------------------------------------------------------------------------------------------------------


def test_a_query_may_be_as_deep_as_allowed_and_no_deeper() -> None:
    allowed = engine(max_query_depth=5)
    ask(allowed, nested(5))
    message = refused(allowed, nested(6))
    assert "6 fields deep; 5 are allowed" in message
    assert "TASKLOOM_MAX_QUERY_DEPTH" in message


def test_depth_is_counted_through_fragments() -> None:
    query = (
        "{ tree { ...A } } fragment A on Tree { child { ... on Tree { ...B } } } fragment B on Tree { child { name } }"
    )
    ask(engine(max_query_depth=4), query)
    assert "4 fields deep; 3" in refused(engine(max_query_depth=3), query)


def test_the_full_introspection_query_passes_whatever_the_depth() -> None:
    ask(engine(max_query_depth=1), INTROSPECTION)


def test_introspection_has_a_budget_of_its_own() -> None:
    fields = "fields { args { type { name } } type { name } }"
    types = " ".join(f"a{n}: types {{ {fields} }}" for n in range(90))
    assert "introspection" in refused(engine(max_query_tokens=5000), f"{{ __schema {{ {types} }} }}")


def test_selections_within_selections_are_refused_before_the_interpreter_gives_up() -> None:
    for query in (
        "{ ..." + "{ ..." * 190 + "{ __typename }" + " }" * 191,
        bomb(200, "NEXT"),
        bomb(100, "child { NEXT }"),
    ):
        assert refused(engine(max_query_tokens=5000), query)


# --- Aliases --------------------------------------------------------------------------------------------------------


def test_aliases_are_counted() -> None:
    aliases = " ".join(f"a{n}: tree {{ name }}" for n in range(MAX_ALIASES))
    ask(engine(), f"{{ {aliases} }}")
    assert f"{MAX_ALIASES + 1} aliases" in refused(engine(), f"{{ {aliases} b: tree {{ name }} }}")


def test_aliases_in_fragments_are_counted_at_every_spread() -> None:
    assert "aliases" in refused(engine(max_query_depth=100), bomb(12, "a: child { NEXT } b: child { NEXT }"))


def test_a_field_is_not_repeated_within_a_selection_without_end() -> None:
    ask(engine(), "{ tree { " + "name " * 10 + "} }")
    assert "Write each field once" in refused(engine(), "{ tree { " + "child { name } " * 100 + "} }")


# --- Cost -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "variables", "cost"),
    [
        ("{ tree { name } }", {}, 2),
        ("{ trees(first: 10) { name } }", {}, 11),
        ("{ trees(last: 10) { name child { name } } }", {}, 31),
        ("{ trees { name } }", {}, 51),
        ("{ trees(first: 10) { children(first: 20) { name } } }", {}, 1 + 10 * (1 + 20)),
        ("query ($n: Int) { trees(first: $n) { name } }", {"n": 7}, 8),
        ("query ($n: Int) { trees(first: $n) { name } }", {}, 51),
        ("query ($n: Int) { trees(first: $n) { name } }", {"n": None}, 51),
        ("query ($n: Int) { trees(first: $n) { name } }", {"n": -5}, 1),
        (
            "query ($n: Int) { trees(first: $n) { ...F } } fragment F on Tree { children(first: $n) { name } }",
            {"n": 3},
            13,
        ),
        ("query ($n: Int) { trees(first: 10) { child { children(first: $n) { name } } } }", {"n": 3}, 1 + 10 * (2 + 3)),
        ("query ($n: Int) { trees(first: $n, last: 9) { name } }", {"n": 3}, 10),
    ],
)
def test_a_list_costs_its_fields_once_per_item(query: str, variables: dict[str, Any], cost: int) -> None:
    ask(engine(max_query_cost=cost), query, variables)
    if cost > 1:
        message = refused(engine(max_query_cost=cost - 1), query, variables)
        assert f"up to {cost:,} fields; {cost - 1:,} are allowed" in message


def test_the_default_of_a_variable_counts_where_no_value_is_sent() -> None:
    query = "query ($n: Int = 3) { trees(first: $n) { name } }"
    ask(engine(max_query_cost=4), query)
    assert refused(engine(max_query_cost=3), query)


@pytest.mark.parametrize("size", [201, 10**6, 2**31 - 1])
def test_a_page_that_the_service_will_refuse_by_name_is_not_refused_for_its_cost(size: int) -> None:
    ask(engine(max_query_cost=201), f"{{ trees(first: {size}) {{ name }} }}")
    ask(engine(max_query_cost=201), "query ($n: Int) { trees(first: $n) { name } }", {"n": size})


# --- Values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "too_many"),
    [
        ({"names": ["a"] * (VALUES_OF_AN_ITEM - 3)}, {"names": ["a"] * (VALUES_OF_AN_ITEM - 2)}),
        ({"wishes": [{}] * 16}, {"wishes": [{}] * 17}),
        ({"wishes": {"wishes": [{}] * 15}}, {"wishes": {"wishes": [{}] * 16}}),
        ({"free": [0] * 1000}, {"wishes": [0] * 100}),
    ],
)
def test_variables_bring_no_more_values_than_a_bulk_mutation_needs(allowed: object, too_many: object) -> None:
    query, limited = "query ($w: Wish) { wished(wish: $w) }", engine(max_bulk_items=1)
    ask(limited, query, {"w": allowed})
    assert "Send less at once" in refused(limited, query, {"w": too_many})


def test_a_bulk_trigger_of_as_many_runs_as_allowed_may_have_all_their_tags() -> None:
    query = "mutation ($i: TriggerTasksInput!) { triggerTasks(input: $i) { __typename } }"
    trigger = {"definitionId": "greet", "tags": ["tag"] * MAX_TAGS}
    ask(Engine(schema, no_context, Settings()), query, {"i": {"tasks": [trigger] * 10_000}})


# --- Bombs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "child { NEXT } NEXT",
        "NEXT child { NEXT child { NEXT } }",
        "... { NEXT } ... { NEXT }",
        "a: child { NEXT } b: child { NEXT }",
        "children(first: 200) { NEXT }",
        "children(first: $n) { NEXT } child { NEXT }",
    ],
)
def test_fragments_nested_in_fragments_are_judged_in_milliseconds(body: str) -> None:
    query = bomb(25, body)
    query = "query ($n: Int) " + query if "$n" in query else query
    limited = engine()
    begun = time.thread_time()
    with pytest.raises(RequestRefused):
        ask(limited, query, {"n": 200})
    assert time.thread_time() - begun < 0.1


def test_a_fragment_bomb_within_the_limits_is_executed_as_quickly() -> None:
    limited = engine(max_query_depth=100, max_query_cost=2**31 - 2)
    begun = time.thread_time()
    ask(limited, bomb(12, "child { NEXT } NEXT"))
    assert time.thread_time() - begun < 0.5


def test_fragments_in_a_circle_are_left_to_validation() -> None:
    with pytest.raises(RequestRefused) as caught:
        ask(engine(), "{ tree { ...A } } fragment A on Tree { ...B } fragment B on Tree { child { ...A } }")
    assert caught.value.errors[0].extensions == {"code": "GRAPHQL_VALIDATION_FAILED"}


# --- Length ---------------------------------------------------------------------------------------------------------


def test_a_document_has_a_number_of_tokens() -> None:
    message = refused(engine(max_query_tokens=20), "{ " + "tree { name } " * 10 + "}")
    assert "more than 20 tokens" in message
    assert "variables" in message


@pytest.mark.parametrize("filler", ["#\n", ",", "# long comment"])
def test_a_long_document_is_refused_whatever_it_is_filled_with(filler: str) -> None:
    limited, document = engine(), "{ tree { name } } " + filler * 1_000_000
    # Of this thread's processor, because the machine may be busy.
    begun = time.thread_time()
    assert refused(limited, document)
    assert time.thread_time() - begun < 0.1


def test_a_document_is_parsed_once_and_kept_within_bounds() -> None:
    documents = Documents(Limits.of(SCHEMA._schema, Settings()))
    kept = documents.get("{ tree { name } }")
    assert documents.get("{ tree { name } }") is kept
    for number in range(MAX_KEPT_CHARACTERS // (MAX_CHARACTERS - 1) + 1):
        documents.get("{ tree { name } } #".ljust(MAX_CHARACTERS - 1, str(number)))
    assert documents.get("{ tree { name } }") is not kept
