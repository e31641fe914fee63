"""What ``@task`` refuses to declare, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from app.registry import DefinitionError
from workers import task


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "Not A Slug"}, "'Not A Slug' is no definition id: use a kebab-case slug"),
        ({"priority": 1001}, "priority is 1001, but must be -1000 to 1000"),
        ({"queue": "Reports"}, "queue is 'Reports', but must have 1 to 63 lower-case letters"),
        ({"queue": "a,b"}, "queue is 'a,b', but"),
        ({"queue": ""}, "queue is '', but"),
        ({"max_iterations": -1}, "max_iterations is -1, but must be 1 or more"),
        ({"timeout": 0}, "timeout is 0 s, but must be above 0"),
        ({"cooldown": 367 * 86400}, "but must be above 0 and up to 366 days"),
        ({"category": ""}, "category must have 1 to 100 characters"),
        ({"triggers": "SOMETIMES"}, "triggers is 'SOMETIMES', but must be ON_DEMAND, SCHEDULED, BOTH"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_declared(changes: dict[str, Any], words: str) -> None:
    async def function(ctx: Any) -> None: ...

    with pytest.raises(DefinitionError) as refusal:
        task(**{"id": "test-bad", **changes})(function)
    assert words in str(refusal.value)
