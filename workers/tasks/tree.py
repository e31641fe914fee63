"""A directory tree in one fixed order that can be taken up again at any path, and the hashing of its files.

Paths are bytes and relative to the root, because file names are bytes; their order is that of ``LC_ALL=C sort``.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

CHUNK_BYTES = 256 * 1024
"""How much is hashed between two looks for an abort; larger chunks are slower, because they miss the CPU's cache."""

Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """What a walk meets: a regular file, or in its place what is wrong with a directory, whose path ends with ``/``."""

    path: bytes
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Hashed:
    """What hashing a file gave."""

    sha256: str
    size: int
    has_changed: bool


class NotRegular(OSError):
    """What was a regular file when its directory was read is none any more."""


class Tree:
    """The regular files below a directory.

    ``include`` and ``exclude`` are shell patterns, compared with paths and with names; ``left_out`` are names to leave
    out in one directory.
    """

    def __init__(
        self,
        root: bytes,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        follow_symlinks: bool = False,
        left_out: tuple[bytes, frozenset[bytes]] | None = None,
    ) -> None:
        self._root = root
        self._include = _matcher(include)
        self._exclude = _matcher(exclude)
        self._follow = follow_symlinks
        self._left_out_of = _identity(left_out[0]) if left_out else None
        self._left_out = left_out[1] if left_out else frozenset[bytes]()

    def full(self, path: bytes) -> bytes:
        """The absolute path of a path in the tree."""
        return os.path.join(self._root, path)

    def size(self, path: bytes) -> int:
        """A file's size in bytes. Raises ``OSError``."""
        return os.stat(self.full(path), follow_symlinks=self._follow).st_size

    def walk(self, after: bytes = b"") -> Iterator[Found]:
        """The files whose path comes after ``after``, in order. Raises ``OSError`` when the root cannot be read."""
        open_directories = [(iter(self._read(b"")), _identity(self._root))]
        while open_directories:
            found = next(open_directories[-1][0], None)
            if found is None:
                open_directories.pop()
            elif _is_done(found, after):
                continue
            elif not found.endswith(b"/"):
                yield Found(found)
            else:
                try:
                    identity = _identity(self.full(found))
                    if any(identity == above for _, above in open_directories):
                        raise OSError(0, "A symbolic link leads back to a directory above it")
                    open_directories.append((iter(self._read(found)), identity))
                except OSError as error:
                    yield Found(found, words(error))

    def _read(self, directory: bytes) -> list[bytes]:
        """The paths of a directory's files and (ending with ``/``) directories; in the order of whole paths so."""
        path = self.full(directory)
        left_out = self._left_out if self._left_out and _identity(path) == self._left_out_of else frozenset[bytes]()
        with os.scandir(path) as entries:
            return sorted(
                found
                for entry in entries
                if entry.name not in left_out and (found := self._chosen(directory + entry.name, entry))
            )

    def _chosen(self, path: bytes, entry: os.DirEntry[bytes]) -> bytes | None:
        if self._exclude and self._exclude(path):
            return None
        if entry.is_dir(follow_symlinks=self._follow):
            return path + b"/"
        if not entry.is_file(follow_symlinks=self._follow) or (self._include and not self._include(path)):
            return None
        return path

    def hash(self, path: bytes, chunk: bytearray, pulse: Callable[[int], None]) -> Hashed:
        """Hash a file, calling ``pulse`` with the bytes so far after each chunk. Raises ``OSError``."""
        with open(os.fsdecode(self.full(path)), "rb", buffering=0, opener=self._open) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise NotRegular(0, "It is no regular file any more")
            sha256, size = _digest(file, chunk, pulse)
            after = os.fstat(file.fileno())
        same = (before.st_mtime_ns, before.st_size, size) == (after.st_mtime_ns, after.st_size, after.st_size)
        return Hashed(sha256, size, not same)

    def _open(self, path: str, flags: int) -> int:
        # Without O_NONBLOCK, a pipe that took the file's place would block for ever.
        return os.open(path, flags | os.O_NONBLOCK | (0 if self._follow else os.O_NOFOLLOW))


def shown(path: bytes) -> str:
    """A path as text for people: what is not UTF-8 becomes ``\\xNN``."""
    return path.decode("utf-8", "backslashreplace")


def words(error: OSError) -> str:
    """What went wrong with a file, in the operating system's words."""
    return error.strerror or type(error).__name__


def _digest(file: io.FileIO, chunk: bytearray, pulse: Callable[[int], None]) -> tuple[str, int]:
    digest, view, size = hashlib.sha256(), memoryview(chunk), 0
    while count := file.readinto(chunk):
        digest.update(view[:count])
        size += count
        pulse(size)
    return digest.hexdigest(), size


def _is_done(path: bytes, after: bytes) -> bool:
    """Whether a walk that stopped at ``after`` has been here. Of a directory it stopped inside, it has not seen all."""
    return path <= after and (path == after or not (path.endswith(b"/") and after.startswith(path)))


def _identity(path: bytes) -> Identity:
    status = os.stat(path)
    return (status.st_dev, status.st_ino)


def _matcher(patterns: Sequence[str]) -> Callable[[bytes], bool] | None:
    if not patterns:
        return None
    expression = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))

    def matches(path: bytes) -> bool:
        text = os.fsdecode(path)
        return bool(expression.match(text) or expression.match(text.rsplit("/", 1)[-1]))

    return matches
