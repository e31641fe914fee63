"""The fingerprint of a failure: the same for failures that have the same cause, as far as text can tell.

It is made of the definition, the error's type, its message without what differs from run to run (numbers, ids, times,
paths, quoted values), and the innermost line of the task's own code in its traceback.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

LOOKED_AT = 2000
"""How many characters of a message are looked at."""
KEPT = 500
"""How many characters of a normalised message count; what comes behind is seldom alike."""

# The alternatives are tried in this order at each place. Of a name, three digits are replaced.
_VARYING = re.compile(
    r"""(?P<uuid>\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b)
    | (?P<time>\b\d{4}-\d\d-\d\d(?:[T\ ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|\ ?[+-]\d\d:?\d\d)?)?)
    | (?P<url>\b[a-z][a-z0-9+.-]{1,20}://[^\s'")\]]+)
    | (?P<text>(?<!\w)'[^']{0,300}'(?!\w)|"[^"]{0,300}"|`[^`]{0,300}`)
    | (?P<path>(?<![\w/])~?(?:/[\w.@+-]+)+/?|\b[A-Za-z]:\\[^\s'"]+)
    | (?P<hex>\b0x[0-9a-fA-F]+\b|\b(?=[a-fA-F]*\d)(?=\d*[a-fA-F])[0-9a-fA-F]{7,}\b)
    | (?P<n>(?<!\w)[+-]?\d+(?:[.,:]\d+)*(?!\w))
    | (?P<id>\b(?=(?:[A-Za-z_]*\d){3})\w{10,}\b)
    | (?P<part>\d{3,}|(?<![A-Za-z_])\d+)""",
    re.VERBOSE,
)
_SPACES = re.compile(r"\s+")
_FRAME = re.compile(r'^[ |+-]*File "(?P<file>[^"]*)", line \d+, in (?P<function>.*)$', re.MULTILINE)
_LIBRARY = re.compile(r"[/\\](?:site-packages|dist-packages|lib[/\\]python[\d.]+)[/\\]|^<")
_SEPARATOR = re.compile(r"[/\\]")


@dataclass(frozen=True, slots=True)
class Cause:
    """What failures have in common: ``id`` is 16 hexadecimal digits that stand for all of the rest."""

    definition_id: str
    type: str
    message: str
    place: str | None

    @property
    def id(self) -> str:
        """The fingerprint."""
        parts = "\0".join((self.definition_id, self.type, self.message, self.place or ""))
        return blake2b(parts.encode(errors="replace"), digest_size=8).hexdigest()


def cause(definition_id: str, type: str, message: str, traceback: str | None = None) -> Cause:
    """The cause of a failure.

    >>> cause("mail", "OSError", "disk 1 is full").id == cause("mail", "OSError", "disk 22 is full").id
    True
    """
    return Cause(definition_id, type, normalised(message), place(traceback))


def normalised(message: str) -> str:
    """A message with what differs from run to run replaced by its kind.

    >>> normalised("row 7 of '/tmp/a.csv' is broken")
    'row <n> of <text> is broken'
    """
    plain = _SPACES.sub(" ", message[:LOOKED_AT]).strip()
    return _VARYING.sub(lambda found: f"<{_KINDS.get(found.lastgroup or '', found.lastgroup)}>", plain)[:KEPT]


_KINDS = {"part": "n"}


def place(traceback: str | None) -> str | None:
    """The file and function of the innermost frame that is no library's, else of the innermost; None without frames.

    Line numbers and directories are left out, so that a group outlives a release and a move to another machine.
    """
    frames = _FRAME.findall(traceback or "")
    own = [frame for frame in frames if not _LIBRARY.search(frame[0])]
    if not frames:
        return None
    file, function = (own or frames)[-1]
    return f"{_SEPARATOR.split(file)[-1]}:{function}"
