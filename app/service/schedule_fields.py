"""What a schedule is made of besides its timing, as callers say it: the checks that lead from there to its columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from app.auth import may_act
from app.errors import InvalidArgument, TaskDefinitionNotFound
from app.kinds import whole
from app.registry import Triggers
from app.service import arguments, inputs
from app.service.known import KnownDefinitions

MAX_PER_TASK = 100
MAX_FAILURES = 1000
MAX_WINDOW = timedelta(days=366)
TASK = ("input", "taskId")


async def check_use(known: KnownDefinitions, definition_id: str, value: Any, max_input_bytes: int) -> None:
    """Check that a definition may be scheduled, and takes the input of a schedule that has its own.

    Raises ``TaskDefinitionNotFound``, ``InvalidArgument``, ``InvalidTaskInput``, ``ServiceUnavailable``.
    """
    found = (await known.find([definition_id])).get(definition_id)
    if found is None:
        raise TaskDefinitionNotFound(definition_id)
    if found.triggers is Triggers.ON_DEMAND:
        raise InvalidArgument(f"'{definition_id}' is declared for execution on demand alone.", path=TASK)
    if value is not None:
        text = inputs.encode(value)
        inputs.check_size(text, max_input_bytes)
        found.parse(text)


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns from arguments, each checked. Raises ``InvalidArgument``."""
    columns = {key: value for key, value in values.items() if key != "catch_up_window"}
    if (name := values.get("name")) is not None:
        arguments.text(name, "name", arguments.MAX_NAME)
    if "catch_up_window" in values:
        limit = arguments.duration(values["catch_up_window"], "catchUpSeconds", MAX_WINDOW, zero=True)
        columns["catch_up_seconds"] = limit.total_seconds()
    if (failures := values.get("max_failures")) is not None:
        whole(failures, "maxFailures", 1, MAX_FAILURES, ("input", "maxFailures"))
    if "owner" in values:
        arguments.text(values["owner"], "owner", arguments.MAX_NAME)
        if objection := may_act(values["owner"]):
            raise arguments.refusal("owner", f"{objection} Write its kind and id, as in 'USER:ada' or 'SERVICE:ci'.")
    return columns
