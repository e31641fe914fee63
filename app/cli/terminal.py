"""The two consoles: answers go to standard output, everything about them to standard error."""

from __future__ import annotations

from typing import Any

import orjson
from rich.console import Console

out = Console(highlight=False)
"""Standard output: what was asked for."""

err = Console(stderr=True, highlight=False)
"""Standard error: refusals, notes, and progress where standard output is not a terminal."""


def note(sentence: str) -> None:
    """Say something about the answer that is not part of it."""
    err.print(sentence, style="dim", markup=False, soft_wrap=True)


def complain(sentence: str) -> None:
    """Say what went wrong, with its cure."""
    err.print(sentence, style="red", markup=False, soft_wrap=True)


def print_json(value: Any, *, in_lines: bool = False) -> None:
    """Print one JSON document: indented, or as one line of a stream."""
    options = orjson.OPT_UTC_Z | (0 if in_lines else orjson.OPT_INDENT_2)
    print(orjson.dumps(value, default=str, option=options).decode(), flush=True)
