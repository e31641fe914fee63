"""``python -m workers``: the process that ``taskloom worker`` becomes.

A worker lives for weeks, and by way of the command line it would keep 2 MB of modules that it needs to read its
arguments and for nothing else.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from app import ctrl_c

if TYPE_CHECKING:
    from app.settings import Settings


def main() -> None:
    """Run a worker with the settings of the environment; ends as a command does, with a sentence and an exit code."""
    try:
        _run()
    except KeyboardInterrupt:
        # While modules are loaded; a worker that is ready drains.
        sys.exit(ctrl_c.INTERRUPTED)


def _run() -> None:
    with ctrl_c.kept_back():
        from app.reporting import configure_logging
        from workers.main import run_worker

    try:
        settings = _settings()
        configure_logging(settings)
        run_worker(settings)
    except Exception as error:
        from app.cli.outcomes import told

        code = told(error)
        if code is None:
            raise
        sys.exit(code)


def _settings() -> Settings:
    from app.settings import get_settings

    try:
        return get_settings()
    except ValueError:
        # Which says in a sentence what is wrong, and is needed for nothing else.
        from app.cli.environment import given_settings

        return given_settings()


if __name__ == "__main__":
    main()
