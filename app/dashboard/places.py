"""Where GraphiQL's sources are, where its build goes, and how far the build has come."""

from __future__ import annotations

import fcntl
import hashlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

TYPICAL_SECONDS = 25
"""How long a first build takes on two cores, most of it for fetching packages."""

_SOURCES = ("package.json", "package-lock.json", ".npmrc", "*.mjs", "*.js", "*.jsx", "*.css", "*.html", "tabs/*")


class Places:
    """The directories of one build of GraphiQL: sources in ``root``, everything that is made in ``root/dist``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dist = root / "dist"
        self.site = self.dist / "site"
        self.next = self.dist / "next"
        self.index = self.site / "index.html"
        self._stamp = self.dist / "stamp"
        self._failure = self.dist / "failure.txt"
        self._lock = self.dist / "build.lock"

    def fingerprint(self) -> str:
        """A hash of all sources, which changes when any of them does."""
        digest = hashlib.sha256()
        for path in sorted(path for pattern in _SOURCES for path in self.root.glob(pattern)):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(self.root)} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    def is_current(self) -> bool:
        """Whether the site is there and was made from the sources as they are."""
        return self.index.is_file() and self._read(self._stamp) == self.fingerprint()

    def finish(self, fingerprint: str) -> None:
        """Note that the site was made from the sources with that fingerprint."""
        self._failure.unlink(missing_ok=True)
        self._stamp.write_text(fingerprint)

    def fail(self, reason: str) -> None:
        """Note why the last build failed, for the page to show."""
        self._failure.write_text(reason)

    def failure(self) -> str:
        """Why the last build failed, or nothing."""
        return self._read(self._failure)

    def is_building(self) -> bool:
        """Whether some process is building at this moment."""
        if not self._lock.exists():
            return False
        with self._lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @contextmanager
    def building(self) -> Generator[None]:
        """Build alone: waits until no other process does. The lock ends with the process that holds it."""
        self.dist.mkdir(exist_ok=True)
        with self._lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _read(path: Path) -> str:
        try:
            return path.read_text()
        except OSError:
            return ""


PLACES = Places(Path(__file__).parent / "graphiql")
"""Those of this installation."""
