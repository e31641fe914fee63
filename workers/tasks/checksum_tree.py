"""``checksum-tree``: the SHA-256 of every file below a directory, in a manifest that ``sha256sum -c`` checks."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated
from urllib.parse import quote_from_bytes, unquote_to_bytes

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.counting import counted
from workers import Continue, Progress, Retry, TaskContext, task
from workers.tasks.manifest import Manifest, Written
from workers.tasks.tree import CHUNK_BYTES, Found, Hashed, Tree, shown, words

SAVE_SECONDS = 0.25
SLICE_SECONDS = 60.0
SLICES = 20
LEAST_SLICE_FILES = 100
LEAST_SLICE_BYTES = 1024 * 1024
FILES_A_LINE = 500
LISTED = 100
MAX_NAME_BYTES = 240

AbsolutePath = Annotated[str, Field(pattern=r"^/[^\x00]*$", max_length=4096)]
Patterns = Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=100)]


class ChecksumTreeInput(BaseModel):
    """What to hash, and where to write the manifest."""

    model_config = ConfigDict(extra="forbid")

    root: AbsolutePath = Field(description="The directory, as an absolute path on the worker's machine.")
    manifest: AbsolutePath = Field(
        description="Where the manifest is put when it is complete: the absolute path of a file in a directory that is "
        "there. A file of that name is replaced, and is not part of the manifest when it lies below the root. Until "
        "then the manifest grows in '.NAME.partial' beside it."
    )
    include: Patterns = Field(
        default=[],
        description="Hash only files that fit one of these shell patterns. Each is compared with the path relative to "
        "the root and with the file's name; * and ? stand for / as well. An empty list means all files.",
    )
    exclude: Patterns = Field(
        default=[],
        description="Leave out files and whole directories that fit one of these shell patterns, as in '__pycache__'.",
    )
    follow_symlinks: bool = Field(
        default=False,
        description="Hash what symbolic links lead to, as if it were in their place. Without it they are left out.",
    )
    slice_files: int | None = Field(
        default=None,
        ge=1,
        description="End an iteration after so many files; by default after a twentieth of all, and at least 100. "
        "It ends after a minute in any case.",
    )
    slice_bytes: int | None = Field(
        default=None,
        ge=1,
        description="End an iteration after so many bytes; by default after a twentieth of all, and at least 1 MiB.",
    )
    pause_seconds: float = Field(
        default=0.5,
        ge=0,
        le=3600,
        description="How long to pause, at least, between two iterations, so that others get at the disk and at the "
        "worker. 0 goes on at once.",
    )

    @field_validator("manifest")
    @classmethod
    def _is_file_name(cls, value: str) -> str:
        name = os.path.basename(value)
        if name in ("", ".", ".."):
            raise ValueError("must name a file, not a directory")
        if len(os.fsencode(name)) > MAX_NAME_BYTES:
            raise ValueError(f"the file's name must have at most {MAX_NAME_BYTES} bytes")
        return value

    def fingerprint(self) -> str:
        """A hash of what decides the manifest's contents; a state is worth nothing to a run with another one."""
        decisive = (self.root, self.manifest, self.include, self.exclude, self.follow_symlinks)
        return hashlib.sha256(orjson.dumps(decisive)).hexdigest()[:16]


class FileNote(BaseModel):
    """A file or directory that something is to be said about."""

    path: str = Field(description="Its path relative to the root; bytes that are not UTF-8 are shown as \\xNN.")
    reason: str = Field(description="What was the matter with it.")


class ChecksumTreeOutput(BaseModel):
    """What was hashed, and what was not."""

    manifest: str = Field(
        description="The path of the manifest. Its lines have the format of sha256sum, in the order of LC_ALL=C sort, "
        "with paths relative to the root: 'cd ROOT && sha256sum -c MANIFEST' checks it."
    )
    manifest_sha256: str = Field(description="The SHA-256 of the manifest itself.")
    files: int = Field(description="How many files are in the manifest.")
    bytes: int = Field(description="How many bytes they have together.")
    skipped: int = Field(
        description="How many files and directories could not be read, or vanished, and are not in the manifest."
    )
    skipped_files: list[FileNote] = Field(description=f"The first {LISTED} of them.")
    changed: int = Field(description="How many files changed while they were hashed; they are in the manifest.")
    changed_files: list[FileNote] = Field(description=f"The first {LISTED} of them.")


class Standing(BaseModel):
    """The state of a run: all that another attempt, or a run from the last state, needs to go on."""

    fingerprint: str
    total_files: int
    total_bytes: int
    position: str = ""
    """The last path that was dealt with, percent-encoded because paths need not be UTF-8."""
    length: int = Written().length
    sha256: str = Written().sha256
    files: int = 0
    bytes: int = 0
    skipped: int = 0
    skipped_files: list[FileNote] = []
    changed: int = 0
    changed_files: list[FileNote] = []

    @property
    def seen(self) -> int:
        """How many files were dealt with."""
        return self.files + self.skipped


@task(
    id="checksum-tree",
    title="Checksum a directory tree",
    tags=("files", "checksums"),
    max_iterations=10_000,
    timeout=timedelta(hours=6),
    retry=Retry(
        max_attempts=3,
        first_delay=5.0,
        on=(OSError,),
        never=(FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError),
    ),
)
def checksum_tree(ctx: TaskContext, input: ChecksumTreeInput) -> ChecksumTreeOutput | Continue:
    """Hashes every regular file below a directory with SHA-256 and writes a manifest that `sha256sum -c` checks.

    Works through the tree in order, one slice an iteration. An abort takes effect within a fraction of a second, also
    inside a huge file. A run that was interrupted goes on after the last file it has saved, and so does a run that is
    triggered again from the last state of an aborted one; what was hashed before is not looked at again. The manifest
    appears when it is complete. Until then an earlier one stays as it is.

    Files that cannot be read or that vanish are left out and listed in the output; files that change while they are
    hashed are listed as well.
    """
    if not os.path.isdir(input.root):
        raise NotADirectoryError(f"'{input.root}' is no directory on this worker ({socket.gethostname()}).")
    manifest = Manifest(input.manifest)
    manifest.check()
    tree = Tree(
        os.fsencode(input.root),
        include=input.include,
        exclude=input.exclude,
        follow_symlinks=input.follow_symlinks,
        left_out=(manifest.directory, manifest.names),
    )
    try:
        standing = _resumed(ctx, input, manifest) or _begun(ctx, input, manifest, tree)
        return Slice(ctx, input, manifest, tree, standing).work()
    finally:
        manifest.close()


def _resumed(ctx: TaskContext, input: ChecksumTreeInput, manifest: Manifest) -> Standing | None:
    """Where an earlier attempt or iteration stopped; None when there is nothing to go on from."""
    if ctx.state is None:
        return None
    standing = Standing.model_validate(ctx.state)
    if standing.fingerprint != input.fingerprint():
        ctx.log.warning("Starting over, because the saved state belongs to another input.")
        return None
    if not manifest.resume(Written(standing.length, standing.sha256)):
        ctx.log.warning(
            "Starting over, because the partial manifest is gone or is not what was saved.",
            partial=shown(manifest.partial),
        )
        return None
    return standing


def _begun(ctx: TaskContext, input: ChecksumTreeInput, manifest: Manifest, tree: Tree) -> Standing:
    """The start: how much there is to do, counted for the progress, and an empty manifest."""
    ctx.log.info(f"Looking through {input.root}.")
    files, size = _survey(ctx, tree)
    ctx.log.info(f"Found {counted(files, 'file')} with {counted(size, 'byte')}.", files=files, bytes=size)
    manifest.begin()
    return Standing(fingerprint=input.fingerprint(), total_files=files, total_bytes=size)


def _survey(ctx: TaskContext, tree: Tree) -> tuple[int, int]:
    files = size = 0
    next_report = time.monotonic() + SAVE_SECONDS
    for found in tree.walk():
        ctx.raise_if_stopped()
        if found.problem is None:
            files += 1
            try:
                size += tree.size(found.path)
            except OSError:
                continue  # It is reported when it is to be hashed.
        if time.monotonic() >= next_report:
            _save(ctx, None, Progress(message=f"Found {counted(files, 'file')} so far"))
            next_report = time.monotonic() + SAVE_SECONDS
    return files, size


@dataclass
class Slice:
    """One iteration: as many files as fit into it, saved every quarter of a second."""

    ctx: TaskContext
    input: ChecksumTreeInput
    manifest: Manifest
    tree: Tree
    standing: Standing

    def __post_init__(self) -> None:
        self._chunk = bytearray(CHUNK_BYTES)
        self._first_file, self._first_byte = self.standing.seen, self.standing.bytes
        self._started = time.monotonic()
        self._next_save = self._started + SAVE_SECONDS
        self._lines: list[tuple[str, dict[str, str]]] = []
        self._warnings: list[tuple[str, dict[str, str]]] = []
        most_files = self.input.slice_files or max(LEAST_SLICE_FILES, self.standing.total_files // SLICES)
        most_bytes = self.input.slice_bytes or max(LEAST_SLICE_BYTES, self.standing.total_bytes // SLICES)
        self._last_file, self._last_byte = self._first_file + most_files, self._first_byte + most_bytes

    def work(self) -> ChecksumTreeOutput | Continue:
        """Hash from where the last slice stopped, to the end of this slice or of the tree."""
        self._save()
        for found in self.tree.walk(after=self._position):
            if self._is_over():
                self._end("Slice")
                return self.ctx.continue_(self.standing, delay=self.input.pause_seconds)
            self._take(found)
        self._end("Last slice")
        self.manifest.publish()
        return self._output()

    def _is_over(self) -> bool:
        """Whether the slice is full; the last iteration that the run may have goes on to the end of the tree."""
        if self.ctx.iteration >= self.ctx.max_iterations:
            return False
        standing = self.standing
        return (
            standing.seen >= self._last_file
            or standing.bytes >= self._last_byte
            or time.monotonic() >= self._started + SLICE_SECONDS
            or self.ctx.is_close_to_timeout(5)
        )

    def _take(self, found: Found) -> None:
        self.ctx.raise_if_stopped()
        outcome = found.problem or self._hash(found.path)
        if isinstance(outcome, Hashed):
            self._add(found.path, outcome)
        else:
            self._skip(found.path, outcome)
        self.standing.position = quote_from_bytes(found.path)
        if self.standing.seen % FILES_A_LINE == 0:
            message = f"Hashed {self.standing.seen:,} of {counted(self.standing.total_files, 'file')}."
            self._lines.append((message, {"path": shown(found.path)}))
        if self._warnings or time.monotonic() >= self._next_save:
            self._save()

    def _hash(self, path: bytes) -> Hashed | str:
        try:
            return self.tree.hash(path, self._chunk, self._pulse)
        except OSError as error:
            return words(error)

    def _add(self, path: bytes, hashed: Hashed) -> None:
        self.manifest.add(hashed.sha256, path)
        self.standing.files += 1
        self.standing.bytes += hashed.size
        if hashed.has_changed:
            self.standing.changed += 1
            self._note(self.standing.changed_files, path, "It changed while it was hashed")

    def _skip(self, path: bytes, reason: str) -> None:
        self.standing.skipped += 1
        self._note(self.standing.skipped_files, path, reason)

    def _note(self, notes: list[FileNote], path: bytes, reason: str) -> None:
        if len(notes) < LISTED:
            notes.append(FileNote(path=shown(path), reason=reason))
            self._warnings.append((f"{reason}: {shown(path)}", {"path": shown(path), "reason": reason}))

    def _pulse(self, size: int) -> None:
        """Inside a file: stop where the run has to; show the progress now and then."""
        self.ctx.raise_if_stopped()
        if time.monotonic() >= self._next_save:
            _save(self.ctx, None, self._progress(size))
            self._next_save = time.monotonic() + SAVE_SECONDS

    def _save(self) -> None:
        """Save durably: the manifest first, then the state that says how much of it counts, with the log lines."""
        written = self.manifest.save()
        self.standing.length, self.standing.sha256 = written.length, written.sha256
        for message, data in self._warnings:
            self.ctx.log.warning(message, **data)
        for message, data in self._lines:
            self.ctx.log.info(message, **data)
        self._warnings, self._lines = [], []
        _save(self.ctx, self.standing, self._progress())
        self._next_save = time.monotonic() + SAVE_SECONDS

    def _progress(self, inside: int = 0) -> Progress:
        standing = self.standing
        message = f"{standing.seen:,} of {counted(standing.total_files, 'file')}"
        # Files may have grown since they were counted.
        current = min(standing.bytes + inside, standing.total_bytes)
        return Progress(current=current, total=standing.total_bytes, message=message)

    def _end(self, which: str) -> None:
        files, size = self.standing.seen - self._first_file, self.standing.bytes - self._first_byte
        data = {"seconds": f"{time.monotonic() - self._started:.3f}", "upTo": shown(self._position)}
        self._lines.append((f"{which}: {counted(files, 'file')} with {counted(size, 'byte')}.", data))
        self._save()

    @property
    def _position(self) -> bytes:
        return unquote_to_bytes(self.standing.position)

    def _output(self) -> ChecksumTreeOutput:
        standing = self.standing
        return ChecksumTreeOutput(
            manifest=self.input.manifest,
            manifest_sha256=standing.sha256,
            files=standing.files,
            bytes=standing.bytes,
            skipped=standing.skipped,
            skipped_files=standing.skipped_files,
            changed=standing.changed,
            changed_files=standing.changed_files,
        )


def _save(ctx: TaskContext, standing: Standing | None, progress: Progress) -> None:
    """A checkpoint; in a thread it blocks until all is saved."""
    if standing is None:
        _ = ctx.checkpoint(progress=progress)
    else:
        _ = ctx.checkpoint(state=standing.model_dump(), progress=progress)
