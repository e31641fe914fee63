"""``taskloom new-task``: the written module works as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from app import TaskService
from app.new_task import NewTaskRefused, example_input, write
from app.registry import registry
from app.settings import Settings
from app.states import TaskRunStatus
from tests.cli.forked import ForkedCommand
from tests.workbench import lines, until_status, working


async def test_the_written_module_runs_in_a_real_worker_with_state_progress_continue_and_hook(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await ForkedCommand()("new-task", "nightly-report-1", "--directory", str(tmp_path))
    assert answer.code == 0
    assert f"Wrote {tmp_path}/nightly_report_1.py." in answer.out
    assert "TASKLOOM_TASKS=nightly_report_1 taskloom worker" in answer.out
    assert f"taskloom trigger nightly-report-1 --input '{example_input()}' --follow" in answer.out

    monkeypatch.syspath_prepend(str(tmp_path))
    registry.load(["nightly_report_1"])
    try:
        async with working(settings, dispatch_seconds=0.05), TaskService.connect(settings=settings) as tasks:
            run = await tasks.trigger("nightly-report-1", input=orjson.loads(example_input()))
            run = await until_status(tasks, run.id, TaskRunStatus.SUCCEEDED, TaskRunStatus.FAILED)
            assert (run.status, run.output, run.iteration) == (TaskRunStatus.SUCCEEDED, {"total": 820}, 4)
            assert run.progress is not None
            assert run.progress["message"] == "item 40"
            assert run.max_attempts == 3
            assert await lines(tasks, run.id) == ["Begins", "Done"]
    finally:
        registry.remove("nightly-report-1")
        sys.modules.pop("nightly_report_1", None)


def test_the_written_module_is_in_the_style_of_the_house(tmp_path: Path) -> None:
    file = write("my-first-task", tmp_path)
    config = str(Path(__file__).parents[2] / "pyproject.toml")
    for command in (("check",), ("format", "--check")):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, "--config", config, str(file)], check=False)
        assert done.returncode == 0


async def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("precious")
    answer = await ForkedCommand()("new-task", "mine", cwd=tmp_path)
    assert answer.code == 2
    assert answer.sentence == "mine.py is there already. Choose another name, or another --directory."
    assert file.read_text() == "precious"


@pytest.mark.parametrize("name", ["Bad_Name", "a b", "../up", "json", "class", "2fast", "workers", "x" * 101])
def test_a_name_that_cannot_be_a_definition_or_a_module_is_refused_with_an_example(tmp_path: Path, name: str) -> None:
    with pytest.raises(NewTaskRefused, match="as in "):
        write(name, tmp_path)
    assert list(tmp_path.iterdir()) == []
