"""``python -m tests.chaos`` as ``make chaos`` calls it, for a second."""

from __future__ import annotations

import asyncio
import re
import sys

from tests.faults.processes import ROOT


async def test_a_run_in_which_promises_were_broken_says_which_and_exits_with_1() -> None:
    """Of workers that store no attempts: violations there are, whatever happens. The seed's fault is a quick one."""
    code, said = await chaos("--seed", "34", "--seconds", "0.1", "--no-attempts")
    assert code == 1, said
    for name in ("acknowledged", "runs", "log lines", "violations"):
        assert figure(name, said) > 0, said
    for name in ("attempts", "interruptions"):
        assert figure(name, said) >= 0
    assert re.search(r"^  final by status: .*SUCCEEDED \d+", said, re.MULTILINE), said
    assert re.search(r"^  violations: \d+; I2 \d+", said, re.MULTILINE), said
    assert "claims, and these attempts: []" in said


async def chaos(*arguments: str) -> tuple[int | None, str]:
    """The exit code, and what was said."""
    command = (sys.executable, "-m", "tests.chaos", *arguments)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode, said.decode()


def figure(name: str, said: str) -> int:
    """The first number after a name."""
    found = re.search(rf"^  {name}: (\d+)", said, re.MULTILINE)
    assert found, f"{name} is missing in:\n{said}"
    return int(found[1])
