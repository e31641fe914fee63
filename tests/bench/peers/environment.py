"""An environment for each peer, because no two agree on the version of what they share."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.bed import ROOT

HOME = ROOT / ".bench-peers"


class Unavailable(Exception):
    """A peer that cannot be measured; the message says why."""


async def installed(name: str, requirements: Sequence[str], home: Path = HOME) -> Path:
    """The directory of a peer's commands, installed at first. Raises ``Unavailable`` with the installer's words."""
    place = home / "-".join(name.split())
    wanted = "\n".join((sys.executable, *requirements))
    ready = place / "requirements"
    if not ready.exists() or ready.read_text() != wanted:
        # An environment cannot be mended from any state, so it is made anew.
        shutil.rmtree(place, ignore_errors=True)
        await _uv("venv", "--quiet", "--python", sys.executable, str(place))
        await _uv("pip", "install", "--quiet", "--python", str(place), *requirements)
        ready.write_text(wanted)
    return place / "bin"


async def _uv(*arguments: str) -> None:
    environment = {**os.environ, "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never", **await _index()}
    try:
        process = await asyncio.create_subprocess_exec(
            ROOT / ".tools" / "bin" / "uv", *arguments, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        raise Unavailable(f"there is no uv in .tools ({error.strerror}); `make environment` puts it there") from None
    output, _ = await process.communicate()
    if process.returncode:
        raise Unavailable(f"it could not be installed: {' '.join(output.decode().split())[-300:]}")


async def _index() -> dict[str, str]:
    """The index that pip is set up for, which uv does not look up by itself; as ``.ci/environment`` does it."""
    if "UV_DEFAULT_INDEX" in os.environ:
        return {}
    process = await asyncio.create_subprocess_exec(
        os.environ.get("PYTHON", "python3"), "-m", "pip", "config", "get", "global.index-url",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    output, _ = await process.communicate()
    return {"UV_DEFAULT_INDEX": output.decode().strip()} if output.strip() else {}
