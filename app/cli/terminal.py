"""The two consoles: answers go to standard output, everything about them to standard error."""

from __future__ import annotations

import os
import sys
from typing import Any

import orjson
from rich.console import Console

PIPE_WIDTH = 200
"""How wide a table may be where no terminal is."""

_width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
# Names and messages are anybody's text: nothing in them is markup.
out = Console(highlight=False, markup=False, emoji=False, width=_width)
"""Standard output: what was asked for."""

err = Console(stderr=True, highlight=False, markup=False, emoji=False)
"""Standard error: refusals, notes, and progress where standard output is not a terminal."""


def note(sentence: str) -> None:
    """Say something about the answer that is not part of it."""
    err.print(sentence, style="dim", soft_wrap=not err.is_terminal)


def complain(sentence: str) -> None:
    """Say what went wrong, with its cure."""
    err.print(sentence, style="red", soft_wrap=not err.is_terminal)


def print_json(value: Any, *, in_lines: bool = False) -> None:
    """Print one JSON document: indented, or as one line of a stream."""
    options = orjson.OPT_UTC_Z | (0 if in_lines else orjson.OPT_INDENT_2)
    print(orjson.dumps(value, default=str, option=options).decode(), flush=True)
