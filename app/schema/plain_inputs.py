"""Input objects whose fields are scalars, enums and lists of them, built at once instead of field by field.

graphql-core has coerced the values when Strawberry comes to build the object; what Strawberry then does for each field
of each item of a bulk mutation, to leave such values as they are, was a seventh of a bulk trigger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from graphql import GraphQLInputObjectType, get_named_type, is_leaf_type
from strawberry.types.base import StrawberryMaybe

if TYPE_CHECKING:
    from collections.abc import Mapping

    import strawberry

_FIELD = "strawberry-definition"


def build_at_once(schema: strawberry.Schema, input_type: type) -> None:
    """Let the objects of an input type be built at once from what clients send.

    Raises ``ValueError`` for a type with a field whose value is not taken as it is.
    """
    definition: Any = cast("Any", input_type).__strawberry_definition__
    published = schema._schema.get_type(definition.name)  # pyright: ignore[reportPrivateUsage]  # As in execution.py.
    assert isinstance(published, GraphQLInputObjectType)
    names = {name: _python_name(name, field) for name, field in published.fields.items()}

    def build(of: type, value: Mapping[str, Any], _: Any) -> Any:
        return of(**{names[name]: given for name, given in value.items()})

    definition.from_input = build


def _python_name(name: str, field: Any) -> str:
    strawberry_field = field.extensions[_FIELD]
    if not is_leaf_type(get_named_type(field.type)) or isinstance(strawberry_field.type, StrawberryMaybe):
        raise ValueError(f"The field {name} is no scalar, enum or list of them: it has to be converted.")
    return strawberry_field.python_name
