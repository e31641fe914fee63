"""The two consoles: answers go to standard output, everything about them to standard error."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

PIPE_WIDTH = 200
"""How wide a table may be where no terminal is."""


class _Later:
    """A console that is made when something is first shown on it: servers and workers never do, and it takes 2 MB."""

    def __init__(self, make: Callable[[], Console]) -> None:
        self._make = make

    @cached_property
    def _console(self) -> Console:
        return self._make()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._console, name)

    # A progress bar is drawn inside of ``with console``, which Python looks up in the class.
    def __enter__(self) -> Console:
        return self._console.__enter__()

    def __exit__(self, *how: Any) -> None:
        self._console.__exit__(*how)


def _console(**options: Any) -> Console:
    from rich.console import Console

    # Names and messages are anybody's text: nothing in them is markup.
    return Console(highlight=False, markup=False, emoji=False, **options)


def _for_answers() -> Console:
    return _console(width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH)


out = cast("Console", _Later(_for_answers))
"""Standard output: what was asked for."""

err = cast("Console", _Later(lambda: _console(stderr=True)))
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
