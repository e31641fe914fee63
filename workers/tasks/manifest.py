"""A manifest in the format of ``sha256sum`` that grows in a partial file beside it and appears complete or not at all.

The partial file of ``/data/SHA256SUMS`` is ``/data/.SHA256SUMS.partial``. It outlives an abort and a crash; how much of
it counts is known by its length and digest, which a run keeps in its state.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

COPY_BYTES = 1024 * 1024
# The backslash comes first, so that those of the other two are not escaped again.
ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}


class ManifestTaken(Exception):
    """Another run writes the same manifest."""


@dataclass(frozen=True, slots=True)
class Written:
    """How much of a partial manifest counts: its first ``length`` bytes, which have this SHA-256."""

    length: int = 0
    sha256: str = hashlib.sha256().hexdigest()


class Manifest:
    """One manifest under way. ``begin`` it, or ``resume`` it; ``add`` lines, ``save`` them, then ``publish``."""

    def __init__(self, path: str) -> None:
        self.path = os.fsencode(path)
        self.directory, name = os.path.split(self.path)
        self.partial = os.path.join(self.directory, b"." + name + b".partial")
        self._new = self.partial + b".new"
        self._done = self.partial + b".done"
        self.names = frozenset({name, *map(os.path.basename, (self.partial, self._new, self._done))})
        self._file: BinaryIO | None = None
        self._length = 0
        self._digest = hashlib.sha256()

    def check(self) -> None:
        """Refuse a path at which no file can be put. Raises ``OSError``, whose message says why."""
        if not os.path.isdir(self.directory):
            raise NotADirectoryError(f"There is no directory '{os.fsdecode(self.directory)}' to write the manifest to.")
        if os.path.lexists(self.path) and not stat.S_ISREG(os.lstat(self.path).st_mode):
            raise IsADirectoryError(f"'{os.fsdecode(self.path)}' is there already and is no regular file.")

    def begin(self) -> None:
        """Start with nothing, whatever an earlier run has left. Raises ``ManifestTaken``."""
        self._replace_partial(None, Written())

    def resume(self, written: Written) -> bool:
        """Go on after what was written; False when that is not there any more.

        The complete manifest counts too: it is where a run stands that was killed right after it published, or while
        it did. Raises ``ManifestTaken``.
        """
        for path in (self.partial, self._done, self.path):
            with _opened(path) as source:
                if source is not None and _digest(source, written.length) == written.sha256:
                    source.seek(0)
                    self._replace_partial(source, written)
                    return True
        return False

    def add(self, sha256: str, path: bytes) -> None:
        """Add the line of one file."""
        text = line(sha256, path)
        self._open_file.write(text)
        self._digest.update(text)
        self._length += len(text)

    def save(self) -> Written:
        """Make what was added durable; returns how much there is now. Raises ``ManifestTaken``."""
        self._open_file.flush()
        os.fdatasync(self._open_file.fileno())
        self._check_ours()
        return Written(self._length, self._digest.hexdigest())

    def publish(self) -> None:
        """Put the manifest in its place, complete. Raises ``ManifestTaken``.

        What has the name of the partial manifest is taken away before it is looked at once more: between a look and a
        move another run may begin, and what it has not finished would be published.
        """
        self._check_ours()
        try:
            os.replace(self.partial, self._done)
            if not self._is_ours(self._done):
                os.replace(self._done, self.partial)
                raise self._taken()
            os.replace(self._done, self.path)
        except FileNotFoundError:
            raise self._taken() from None
        _sync_directory(self.directory)

    def close(self) -> None:
        """Close the partial file and leave it where it is."""
        if self._file is not None:
            self._file.close()

    @property
    def _open_file(self) -> BinaryIO:
        assert self._file is not None, "begin or resume comes first"
        return self._file

    def _check_ours(self) -> None:
        if not self._is_ours(self.partial):
            raise self._taken()

    def _is_ours(self, path: bytes) -> bool:
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._open_file.fileno()))
        except FileNotFoundError:
            return False

    def _taken(self) -> ManifestTaken:
        name = os.fsdecode(self.path)
        return ManifestTaken(f"Another run has begun to write '{name}'. Give each run a manifest of its own.")

    def _replace_partial(self, source: BinaryIO | None, written: Written) -> None:
        """Go on in a new file, so that an attempt which was given up, and does not know it yet, writes into none.

        Of several runs that do so at once one goes on; the others raise ``ManifestTaken``.
        """
        with suppress(FileNotFoundError):
            os.unlink(self._new)
        try:
            self._file = open(self._new, "xb")  # noqa: SIM115
        except FileExistsError:
            raise self._taken() from None
        self._length, self._digest = 0, hashlib.sha256()
        for data in _read(source, written.length) if source else ():
            self._file.write(data)
            self._digest.update(data)
            self._length += len(data)
        self._file.flush()
        os.fdatasync(self._file.fileno())
        # Another run may have removed it, or put it in its place instead of its own.
        with suppress(FileNotFoundError):
            os.replace(self._new, self.partial)
        self._check_ours()
        _sync_directory(self.directory)


def line(sha256: str, path: bytes) -> bytes:
    """A file's line as ``sha256sum`` writes it: with a backslash in front where the name had to be escaped."""
    # A file with this name would be taken for the standard input.
    name = b"./-" if path == b"-" else path
    escaped = name
    for character, escape in ESCAPES.items():
        escaped = escaped.replace(character, escape)
    return (b"\\" if escaped != name else b"") + sha256.encode() + b"  " + escaped + b"\n"


@contextmanager
def _opened(path: bytes) -> Generator[BinaryIO | None]:
    if not os.path.isfile(path):
        yield None
        return
    with open(path, "rb") as file:
        yield file


def _read(source: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (data := source.read(min(COPY_BYTES, length))):
        yield data
        length -= len(data)


def _digest(source: BinaryIO, length: int) -> str:
    digest = hashlib.sha256()
    for data in _read(source, length):
        digest.update(data)
    return digest.hexdigest()


def _sync_directory(path: bytes) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
