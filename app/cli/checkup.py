"""``taskloom doctor``: what is well and what is not, as a table or as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from app.cli.environment import settings
from app.cli.outcomes import ExitCode
from app.cli.terminal import err, out, print_json
from app.cli.triggering import Json

if TYPE_CHECKING:
    from app.diagnosis import Finding

MARKS = {"WELL": ("✓", "green"), "DOUBTFUL": ("!", "yellow"), "ILL": ("✗", "bold red"), "UNKNOWN": ("?", "dim")}


def doctor(json: Json = False) -> None:
    """Look at database, Redis, clocks, workers and queues; ends with 1 when something fails."""
    from app.diagnosis import Health
    from app.doctor import examine

    chosen = settings()
    with err.status("Looking …"):
        findings = asyncio.run(examine(chosen))
    well = not any(finding.health is Health.ILL for finding in findings)
    if json:
        print_json({"isWell": well, "checks": [asdict(finding) for finding in findings]})
    else:
        _show(findings)
    raise typer.Exit(ExitCode.OK if well else ExitCode.FAILED)


def _show(findings: Sequence[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    from app.cli.words import visible

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = MARKS[finding.health]
        text = Text(visible(finding.finding))
        if finding.cure:
            text.append(f"\n{finding.cure}", style="bold" if finding.health == "ILL" else "dim")
        table.add_row(Text(mark, style), finding.check, text)
    out.print(table)
