"""Fields that are shown in one step look as they do the long way, and so does what goes wrong with them."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest
import strawberry

from app.schema.plain_fields import Execution, plain_fields
from app.schema.schema import schema


@strawberry.enum
class Colour(Enum):
    RED = "red"


@strawberry.type
class Thing:
    whole: int
    flag: bool
    part: float | None
    word: str | None
    at: datetime
    colour: Colour | None

    @strawberry.field
    def twice(self) -> int:
        return self.whole * 2


WHOLE = {"whole": 1, "flag": False, "part": 0.5, "word": "", "at": datetime(2030, 1, 1), "colour": Colour.RED}


def told(thing: dict[str, Any], **how: Any) -> tuple[Any, list[Any]]:
    """The data and the errors of an answer that shows a thing with these attributes."""

    @strawberry.type
    class Query:
        @strawberry.field
        def thing(self) -> Thing | None:
            return SimpleNamespace(**thing)  # type: ignore[return-value]

    result = strawberry.Schema(Query, **how).execute_sync("{ thing { whole flag part n: word at colour } }")
    return result.data, [error.formatted for error in result.errors or ()]


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"part": None, "word": None, "colour": None},
        {"whole": "seven"},
        {"whole": None},
        {"whole": KeyError("x")},
        {"word": KeyError("x")},
        {"colour": "green"},
        {"part": float("nan")},
    ],
    ids=str,
)
def test_a_thing_is_shown_as_it_is_the_long_way(odd: dict[str, Any]) -> None:
    assert told({**WHOLE, **odd}, execution_context_class=Execution) == told({**WHOLE, **odd})


def test_a_missing_attribute_is_told_of_as_it_is_the_long_way() -> None:
    thing = {name: value for name, value in WHOLE.items() if name != "word"}
    data, errors = told(thing, execution_context_class=Execution)
    assert (data, errors) == told(thing)
    assert (data["thing"]["n"], errors[0]["path"]) == (None, ["thing", "n"])


def test_only_attributes_with_a_scalar_or_an_enum_are_plain() -> None:
    assert schema.execution_context_class is Execution
    plain = plain_fields(schema._schema.type_map["Task"])  # type: ignore[arg-type]
    assert {"id", "name", "group", "health", "input", "createdAt"} < plain.keys()
    assert plain.keys().isdisjoint({"tags", "owner", "lastRun", "nextRunAt", "retry", "runs"})
