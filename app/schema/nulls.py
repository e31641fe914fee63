"""Fields that may be left out and are never null: who sends null for one is told which it is, and what to do.

Strawberry's own refusal names no field, and speaks of Python's types.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from graphql import GraphQLError, GraphQLInputObjectType
from strawberry.types.base import StrawberryMaybe, StrawberryOptional

from app.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

    import strawberry


def refuse_nulls(schema: strawberry.Schema) -> None:
    """Let graphql-core refuse null for all such fields, where it makes objects of variables and literals."""
    for published in schema._schema.type_map.values():  # pyright: ignore[reportPrivateUsage]  # As in execution.py.
        if isinstance(published, GraphQLInputObjectType):
            input_type = cast("Any", published)
            if never_null := [name for name, field in input_type.fields.items() if _is_never_null(field)]:
                input_type.out_type = partial(_without_nulls, never_null, input_type.out_type)


def _is_never_null(field: Any) -> bool:
    declared = field.extensions["strawberry-definition"].type
    return isinstance(declared, StrawberryMaybe) and not isinstance(declared.of_type, StrawberryOptional)


def _without_nulls(never_null: list[str], made: Callable[[Any], Any], value: dict[str, Any]) -> Any:
    for name in never_null:
        if name in value and value[name] is None:
            raise GraphQLError(
                f"'{name}' cannot be null: give a value, or leave the field out.",
                extensions={"code": ErrorCode.BAD_USER_INPUT.value},
            )
    return made(value)
