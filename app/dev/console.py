"""What ``taskloom dev`` prints: one line a step, each headed by who says it."""

from __future__ import annotations

import os

from rich.console import Console as RichConsole
from rich.text import Text

from app.dev.http_probe import reachable_host

_WIDTH = 11
_COLOURS = {"server": "cyan", "worker": "magenta", "taskloom": "green"}
_FIRST_QUERY = """\
  {
    taskDefinitions(first: 5) { nodes { id title isAvailable } }
    taskRuns(first: 5) { nodes { id name status } }
  }"""


class _Terminal(RichConsole):
    def on_broken_pipe(self) -> None:
        """Go on in silence: whoever read along has gone, which is no reason to end the servers."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class Console:
    """The terminal, or whatever stdout is; colours only where they can be seen."""

    def __init__(self) -> None:
        """Write to standard output."""
        self._console = _Terminal(highlight=False, soft_wrap=True)

    def say(self, who: str, line: str) -> None:
        """Print one line, as in ``server      | started``."""
        head = Text(f"{who:<{_WIDTH}} | ", style=_COLOURS.get(who, "dim"))
        self._console.print(head + Text.from_ansi(line))

    def problem(self, sentence: str) -> None:
        """Print what went wrong and its cure."""
        self._console.print(Text(f"{'taskloom':<{_WIDTH}} | {sentence}", style="bold red"))

    def welcome(self, host: str, port: int) -> None:
        """Print where everything is and a first query to paste."""
        where = reachable_host(host)
        root = f"http://{f'[{where}]' if ':' in where else where}:{port}"
        self._console.print(
            f"\nTaskloom is running. Ctrl-C stops it.\n\n"
            f"  In the browser     {root}/\n"
            f"  GraphQL endpoint   {root}/graphql\n\n"
            f"A first query to paste into GraphiQL:\n\n{_FIRST_QUERY}\n",
            markup=False,
        )
