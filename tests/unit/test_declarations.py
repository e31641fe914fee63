"""What ``@task`` refuses to declare, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_type_hints

import pytest

from app.registry import DefinitionError, Registry
from workers import task


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "Not A Slug"}, "'Not A Slug' is no definition id: use a kebab-case slug"),
        ({"priority": 1001}, "priority is 1001, but must be -1000 to 1000"),
        ({"queue": "Reports"}, "queue is 'Reports', but must have 1 to 63 lower-case letters"),
        ({"queue": "a,b"}, "queue is 'a,b', but"),
        ({"queue": ""}, "queue is '', but"),
        ({"max_iterations": -1}, "max_iterations is -1, but must be 1 to 2147483647"),
        ({"timeout": 0}, "timeout is 0 s, but must be above 0"),
        ({"cooldown": 367 * 86400}, "but must be above 0 and up to 366 days"),
        ({"category": ""}, "category must have 1 to 100 characters"),
        ({"max_iterations": 0}, "max_iterations is 0, but"),
        ({"title": "a\0b"}, "title holds a NUL character"),
        ({"tags": ["\ud800"]}, "tags holds a NUL character or half of a surrogate pair"),
        ({"limits": {}}, "'limits' must be a Limits or None, not dict"),
        ({"triggers": "SOMETIMES"}, "triggers is 'SOMETIMES', but must be ON_DEMAND, SCHEDULED, BOTH"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_declared(changes: dict[str, Any], words: str) -> None:
    async def function(ctx: Any) -> None: ...

    with pytest.raises(DefinitionError) as refusal:
        task(**{"id": "test-bad", **changes})(function)
    assert words in str(refusal.value)


@pytest.mark.parametrize("option", [name for name in get_type_hints(task) if name not in ("id", "return")])
def test_an_option_of_another_kind_is_refused_by_its_name_and_that_of_its_definition(option: str) -> None:
    options: dict[str, Any] = {option: object()}
    with pytest.raises(DefinitionError, match=f"test-bad: '{option}' must be .*, not object"):
        task(id="test-bad", **options)


@pytest.mark.parametrize("wrong", [5, None, "text", []])
def test_what_is_no_function_is_no_task(wrong: Any) -> None:
    with pytest.raises(DefinitionError, match="test-bad: @task is for a function that takes"):
        task(id="test-bad")(wrong)


@pytest.mark.parametrize("id", [None, 5, b"x", ["x"]])
def test_what_is_no_text_is_no_id(id: Any) -> None:
    with pytest.raises(DefinitionError, match="is no definition id: use a kebab-case slug"):
        task(id=id)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("shop_tasks", "Put the directory that it lies in on PYTHONPATH"),
        ("shop.tasks", "Put the directory that it lies in on PYTHONPATH"),
        ("shop/tasks.py", "Name the module without its ending, as in TASKLOOM_TASKS=shop.tasks."),
        ("needs_another", "No module named 'another'"),
    ],
)
def test_a_module_that_is_not_there_is_refused_with_what_to_do(
    module: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_another.py").write_text("import another")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DefinitionError) as caught:
        Registry().load([module])
    assert words in str(caught.value)
    assert ("PYTHONPATH" in str(caught.value)) == ("PYTHONPATH" in words)
