"""``python -m app.cli``: the same as ``taskloom``."""

from __future__ import annotations

from app import garbage

INTERRUPTED = 130
"""The exit code of who was ended by Ctrl-C, as a shell has it."""


def main() -> None:
    """Run the command that the process's arguments name."""
    # Before anything is loaded: to look through it for garbage time and again is a sixth of a start.
    garbage.look_seldom(garbage.WORKER_THRESHOLD)
    try:
        from app.cli.application import app

        app(prog_name="taskloom")
    except KeyboardInterrupt:
        # While modules are loaded; later on each command has its own way to end.
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
