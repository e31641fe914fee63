"""``python -m app.cli``: the same as ``taskloom``."""

from __future__ import annotations

from app import ctrl_c, garbage


def main() -> None:
    """Run the command that the process's arguments name."""
    try:
        with ctrl_c.kept_back():
            # Before anything is loaded: to look through it for garbage time and again is a sixth of a start.
            garbage.look_seldom(garbage.WORKER_THRESHOLD)
            from app.cli.application import app

        app(prog_name="taskloom")
    except KeyboardInterrupt:
        # While modules are loaded; later on each command has its own way to end.
        raise SystemExit(ctrl_c.INTERRUPTED) from None


if __name__ == "__main__":
    main()
