"""The schema that is served, the file that shows it, and the promise to clients hold together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    is_introspection_type,
    is_required_argument,
    is_required_input_field,
    is_specified_scalar_type,
    parse,
)
from graphql.language import DocumentNode, TypeDefinitionNode

from app.schema.export import SCHEMA_FILE, export, is_in_step

PROMISE = parse((Path(__file__).parent / "contract.graphql").read_text())
OURS = build_schema(export())


def test_schema_graphql_is_what_the_code_serves() -> None:
    assert is_in_step(), f"{SCHEMA_FILE.name} is out of step: run `taskloom schema export`"


def test_everything_in_the_schema_has_a_description() -> None:
    assert [name for name, description in described(OURS) if not description] == []


def test_a_description_is_a_sentence_of_its_own() -> None:
    blank = [name for name, description in described(OURS) if description and description.rstrip()[-1] not in ".`"]
    assert blank == []


@pytest.mark.parametrize("definition", PROMISE.definitions, ids=lambda node: node.name.value)
def test_every_promised_type_is_kept(definition: TypeDefinitionNode) -> None:
    assert list(broken(definition, OURS)) == []


def test_lists_are_connections_with_edges_nodes_and_totals() -> None:
    for kind in ("TaskRun", "TaskDefinition", "TaskLog", "TaskIteration"):
        fields = OURS.type_map[f"{kind}Connection"].fields  # type: ignore[attr-defined]
        assert {name: str(field.type) for name, field in fields.items()} == {
            "edges": f"[{kind}Edge!]!",
            "nodes": f"[{kind}!]!",
            "pageInfo": "PageInfo!",
            "totalCount": "Int",
            "totalCountExceeds": "Int",
        }


def broken(promised: TypeDefinitionNode, schema: GraphQLSchema) -> Iterator[str]:
    """What is missing or different from a promised type, in words."""
    name = promised.name.value
    ours = schema.type_map.get(name)
    if ours is None:
        yield f"type {name} is missing"
        return
    for member in getattr(promised, "types", None) or ():
        assert isinstance(ours, GraphQLUnionType)
        if member.name.value not in {kind.name for kind in ours.types}:
            yield f"{name} has no member {member.name.value}"
    for interface in getattr(promised, "interfaces", None) or ():
        if interface.name.value not in {kind.name for kind in ours.interfaces}:  # type: ignore[attr-defined]
            yield f"{name} does not implement {interface.name.value}"
    for value in getattr(promised, "values", None) or ():
        assert isinstance(ours, GraphQLEnumType)
        if value.name.value not in ours.values:
            yield f"{name} has no value {value.name.value}"
    fields = {field.name.value: field for field in getattr(promised, "fields", None) or ()}
    for field in fields.values():
        yield from broken_field(name, field, ours)
    if isinstance(ours, GraphQLInputObjectType):
        required = {field for field, found in ours.fields.items() if is_required_input_field(found)}
        yield from (f"{name}.{field} is required, which nobody was told of" for field in required - fields.keys())


def broken_field(name: str, promised: object, ours: GraphQLNamedType) -> Iterator[str]:
    """What is missing or different from a promised field and its arguments."""
    field_name = promised.name.value  # type: ignore[attr-defined]
    field = ours.fields.get(field_name)  # type: ignore[attr-defined]
    if field is None:
        yield f"{name}.{field_name} is missing"
        return
    if str(field.type) != written(promised):
        yield f"{name}.{field_name} is {field.type}, promised {written(promised)}"
    if (default := getattr(promised, "default_value", None)) is not None:
        text = default.value if hasattr(default, "value") else None
        if str(field.ast_node.default_value.value) != str(text):
            yield f"{name}.{field_name} has another default than {text}"
    promised_arguments = {argument.name.value for argument in getattr(promised, "arguments", None) or ()}
    for name_, argument in getattr(field, "args", {}).items():
        if name_ not in promised_arguments and is_required_argument(argument):
            yield f"{name}.{field_name} requires the argument {name_}, which nobody was told of"
    for argument in getattr(promised, "arguments", None) or ():
        found = field.args.get(argument.name.value)
        if found is None or str(found.type) != written(argument):
            yield f"{name}.{field_name}({argument.name.value}: {written(argument)}) is missing or different"


def written(node: object) -> str:
    """The type of a field or argument as the promise writes it."""
    from graphql import print_ast

    return print_ast(node.type)  # type: ignore[attr-defined]


def described(schema: GraphQLSchema) -> Iterator[tuple[str, str | None]]:
    """Every type, field, argument and value with its description."""
    for name, kind in schema.type_map.items():
        if is_introspection_type(kind) or is_specified_scalar_type(kind):
            continue
        yield name, kind.description
        if isinstance(kind, GraphQLEnumType):
            yield from ((f"{name}.{value}", found.description) for value, found in kind.values.items())
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for field_name, field in kind.fields.items():
                yield f"{name}.{field_name}", field.description
                arguments = getattr(field, "args", {}).items()
                yield from ((f"{name}.{field_name}({arg})", found.description) for arg, found in arguments)


assert isinstance(PROMISE, DocumentNode)
