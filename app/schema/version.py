"""The version of this server."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

UNKNOWN = "0.0.0+source"
"""The version of a source tree that was never installed."""


def installed_version() -> str:
    """The version of the installed distribution."""
    try:
        return version("taskloom")
    except PackageNotFoundError:
        return UNKNOWN


VERSION = installed_version()
