"""The command ``taskloom``: reads arguments, calls the service, shows the answer; nothing is decided here."""

from app.cli.application import app

__all__ = ["app"]
