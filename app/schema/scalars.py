"""The custom scalars: DateTime and JSON, each strict about what it takes and exact about what it gives."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, cast

import orjson
import strawberry
from graphql import GraphQLError, ValueNode, value_from_ast_untyped
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition

from app import clock


def parse_time(value: object) -> datetime:
    """The point in time that a client's text names. Raises ``GraphQLError`` for text that is not RFC 3339."""
    if isinstance(value, str) and (moment := clock.parse(value)):
        return moment
    raise GraphQLError(_objection(value))


def _objection(value: object) -> str:
    if isinstance(value, str) and clock.is_written(value):
        return (
            f"There is no time '{value[:40]}', or none that a DateTime can be: it is no leap second, and lies in the "
            "years 1 to 9999 in UTC."
        )
    return (
        f"DateTime takes RFC 3339 text with an offset, as in '2026-03-01T09:30:00Z' or '2026-03-01T10:30:00+01:00', "
        f"not {str(value)[:40]!r}."
    )


def parse_json_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> object:
    """The JSON value written as a GraphQL literal. Raises ``GraphQLError`` for numbers that JSON cannot carry.

    How deep a literal nests is bounded by the limits of documents.
    """
    value: object = value_from_ast_untyped(node, variables)
    _require_json(value)
    return value


def _require_json(value: object) -> None:
    if isinstance(value, dict):
        for child in cast("dict[str, object]", value).values():
            _require_json(child)
    elif isinstance(value, list):
        for child in cast("list[object]", value):
            _require_json(child)
    else:
        _require_json_leaf(value)


def _require_json_leaf(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise GraphQLError("A JSON number is finite: NaN and Infinity are not JSON.")
    try:
        orjson.dumps(value)
    except TypeError as error:
        raise GraphQLError("A JSON integer has at most 64 bits; send a longer one as a string.") from error


def parse_json_value(value: object) -> object:
    """A JSON value sent in a variable; the request's own parser has already refused what is not JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        raise GraphQLError("A JSON number is finite: NaN and Infinity are not JSON.")
    return value


SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description=(
            "A point in time as RFC 3339 text. Taken with any offset (text without one is refused); "
            "given in UTC with microseconds, as in `2026-03-01T09:30:00.000000Z`."
        ),
        specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
        serialize=clock.text_of,
        parse_value=parse_time,
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description="Any JSON value: an object, a list, a string, a finite number, a boolean or null.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
        serialize=lambda value: value,
        parse_value=parse_json_value,
        parse_literal=parse_json_literal,
    ),
}
"""What Strawberry calls each of these Python types."""
