"""Input objects that are built at once are those that Strawberry builds field by field."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from strawberry.types.arguments import convert_argument

from app.schema.mutations.execute_task import ExecuteTaskInput
from app.schema.mutations.trigger_task import TriggerTaskInput
from app.schema.mutations.trigger_tasks import TriggerTasksInput
from app.schema.plain_inputs import build_at_once
from app.schema.schema import schema
from app.service import UniquePolicy

COERCED = {
    "definitionId": "checksum-tree",
    "input": {"path": "/srv", "nested": [{"a": None}]},
    "name": "Nightly",
    "delaySeconds": 1.5,
    "startAt": datetime(2030, 1, 1, tzinfo=UTC),
    "priority": 3,
    "tags": ["a", "b"],
    "queue": None,
    "parentId": "0197c3a5-6f2e-7b6a-9a55-3f7b1d2c4e10",
    "timeoutSeconds": 60.0,
    "maxAttempts": 3,
    "ttlSeconds": 5.0,
    "idempotencyKey": "once",
    "uniqueKey": "one",
    "uniquePolicy": UniquePolicy.REPLACE,
}
"""A value as graphql-core hands it on."""


def converted(value: dict[str, Any], of: Any = TriggerTaskInput) -> Any:
    return convert_argument(value, of, schema.schema_converter.scalar_registry, schema.config)


@pytest.mark.parametrize("given", [COERCED, {"definitionId": "checksum-tree"}], ids=["all fields", "one field"])
def test_a_trigger_built_at_once_is_the_one_built_field_by_field(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = cast("Any", TriggerTaskInput).__strawberry_definition__
    assert definition.from_input is not None
    at_once = converted(given)
    monkeypatch.setattr(definition, "from_input", None)
    assert at_once == converted(given)
    assert type(at_once) is TriggerTaskInput


def test_the_example_has_every_field_of_a_trigger() -> None:
    assert len(COERCED) == len(fields(converted(COERCED)))


@pytest.mark.parametrize("of", [TriggerTasksInput, ExecuteTaskInput])
def test_a_type_with_a_field_that_has_to_be_converted_is_refused(of: type) -> None:
    with pytest.raises(ValueError, match="has to be converted"):
        build_at_once(schema, of)
