"""An idle worker is small: what only servers or other commands need is loaded by those who need it."""

from __future__ import annotations

import subprocess
import sys

import pytest

FOR_OTHERS = (
    "alembic", "app.models.tasks", "app.service.ticking", "cronsim", "jmespath", "jsonschema_rs", "pygments", "rich",
    "ruamel", "starlette", "strawberry", "typer", "yaml",
)  # fmt: skip


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules of a process that has everything loaded to work as ``taskloom worker``."""
    program = "import sys, workers.__main__, workers.main; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.parametrize("module", FOR_OTHERS)
def test_a_worker_does_not_load(loaded: set[str], module: str) -> None:
    assert "workers.engine" in loaded
    assert module not in loaded
