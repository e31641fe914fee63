"""Fields that are an attribute with a scalar or an enum, shown in one step: a page of 50 runs has 800 of them.

graphql-core and Strawberry take twenty for each, for what such a field has not: arguments, a resolver that wants to
know where it stands, something to wait for, fields below it. That was a fifth of the time of such a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from graphql import GraphQLNonNull, GraphQLObjectType, is_leaf_type
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

if TYPE_CHECKING:
    from collections.abc import Callable

_FIELD = "strawberry-definition"


@dataclass(frozen=True, slots=True)
class PlainField:
    """Which attribute a field is, how its values are written, and whether it may be null."""

    attribute: str
    written: Callable[[Any], Any]
    nullable: bool


class Execution(StrawberryGraphQLCoreExecutionContext):
    """Executes operations as Strawberry does, and plain fields in one step."""

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, field_details_list: Any, path: Any, position_context: Any
    ) -> Any:
        """What a field of an object is in the answer, or what is to be awaited for that."""
        plain = plain_fields(parent_type).get(field_details_list[0].node.name.value)
        if plain is not None:
            try:
                value = getattr(source, plain.attribute)
                if value is None and plain.nullable:
                    return None
                if value is not None and (written := plain.written(value)) is not None:
                    return written
            except Exception:
                # The long way meets it again, and tells of it.
                pass
        return super().execute_field(parent_type, source, field_details_list, path, position_context)


@cache
def plain_fields(type: GraphQLObjectType) -> dict[str, PlainField]:
    """Those of a type's fields that are plain, by name."""
    made = {name: _plain(field) for name, field in type.fields.items()}
    return {name: plain for name, plain in made.items() if plain is not None}


def _plain(field: Any) -> PlainField | None:
    own = field.extensions.get(_FIELD)
    nullable = not isinstance(field.type, GraphQLNonNull)
    kind = field.type if nullable else field.type.of_type
    if own is None or not own.is_basic_field or not is_leaf_type(kind):
        return None
    return PlainField(own.python_name, kind.coerce_output_value, nullable)
