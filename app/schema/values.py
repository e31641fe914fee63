"""How many values the variables of an operation bring: each is looked at several times before anybody can refuse it.

JSON values count as one, because nobody looks into them on the way.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import graphql
from graphql import GraphQLInputObjectType, GraphQLList

from app.schema.survey import TooComplex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphql import GraphQLSchema, OperationDefinitionNode

InputTypes: TypeAlias = "dict[str, Any]"

# Which are generic over types that graphql-core does not name.
_types = cast("Any", graphql)


def containers_of(schema: GraphQLSchema, operation: OperationDefinitionNode) -> InputTypes:
    """The types of the variables that may bring more values than one, by name."""
    declared = operation.variable_definitions or ()
    types = {node.variable.name.value: _types.type_from_ast(schema, node.type) for node in declared}
    return {name: of for name, of in types.items() if _contains(of)}


def check_values(types: InputTypes, variables: Mapping[str, Any], most: int) -> None:
    """Refuse variables that bring more values than these: items of lists, and the fields that objects may have.

    Raises TooComplex, after looking at no more than so many.
    """
    left = most
    waiting = [(variables[name], of) for name, of in types.items() if name in variables]
    while waiting:
        value, of = waiting.pop()
        of = _types.get_nullable_type(of)
        if isinstance(of, GraphQLList):
            items = cast("list[Any]", value) if isinstance(value, list) else [value]
            item_type = cast("Any", of).of_type
            left -= len(items)
            if left >= 0 and _contains(item_type):
                waiting += [(item, item_type) for item in items]
        elif isinstance(value, dict):
            left -= len(of.fields)
            waiting += [(value[name], inner) for name, inner in _containers_in(of) if name in value]
        if left < 0:
            raise TooComplex(
                f"The variables bring more than {most:,} values, items of lists and fields of objects counted. "
                "Send less at once."
            )


@cache
def _containers_in(of: GraphQLInputObjectType) -> list[tuple[str, Any]]:
    fields = cast("dict[str, Any]", of.fields)
    return [(name, field.type) for name, field in fields.items() if _contains(field.type)]


def _contains(of: Any) -> bool:
    return isinstance(_types.get_nullable_type(of), GraphQLList) or not _types.is_leaf_type(_types.get_named_type(of))
