"""The version of this program."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def installed_version() -> str:
    """The version of the installed distribution, or of the checkout that this is run from."""
    try:
        return version("taskloom")
    except PackageNotFoundError:
        return tomllib.loads(_PROJECT.read_text())["project"]["version"]


VERSION = installed_version()
