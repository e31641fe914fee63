"""Writes the first module of somebody who writes tasks: a commented example that works as it is."""

from __future__ import annotations

import keyword
import sys
from importlib.resources import files
from pathlib import Path

from app.ids import MAX_SLUG_LENGTH, is_slug


class NewTaskRefused(Exception):
    """The module cannot be written; the message is a sentence that tells the cure."""


def write(name: str, directory: Path) -> Path:
    """Write the module of a new definition and return its path. Raises ``NewTaskRefused``; overwrites nothing.

    ``name`` is the definition's id; the module is called like it, with underscores.
    """
    path = directory / f"{_module(name)}.py"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(render(name))
    except FileExistsError:
        raise NewTaskRefused(f"{path} is there already. Choose another name, or another --directory.") from None
    except OSError as error:
        raise NewTaskRefused(f"{path} cannot be written: {error.strerror}. Choose another --directory.") from None
    return path


def render(name: str) -> str:
    """The text of the module."""
    words = name.replace("-", " ")
    text = files(__name__).joinpath("example.txt").read_text(encoding="utf-8")
    replacements = {
        "your-task": name,
        "your_task": name.replace("-", "_"),
        "YourTask": "".join(word.capitalize() for word in name.split("-")),
        "Your task": words.capitalize(),
    }
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text


def example_input() -> str:
    """An input that the example takes."""
    return '{"items": 40}'


def _module(name: str) -> str:
    if not is_slug(name):
        raise NewTaskRefused(
            f"'{name}' is no name for a definition: use lower-case words of letters and digits with hyphens, "
            f"as in nightly-report, up to {MAX_SLUG_LENGTH} characters."
        )
    module = name.replace("-", "_")
    if not module.isidentifier() or keyword.iskeyword(module) or module in {*sys.stdlib_module_names, "app", "workers"}:
        raise NewTaskRefused(
            f"'{name}' cannot be the name of a Python module: begin with a letter, and choose one that is not taken, "
            f"as in my-{name}."
        )
    return module
