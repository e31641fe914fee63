"""``python -m app.cli``: the same as ``taskloom``."""

from app.cli import app

app(prog_name="taskloom")
