"""Pages of lists: keyset cursors, forward and backward, so that page 1,000 costs what page 1 does.

A cursor holds the place of one row in one order: the values that the order sorts by, the row's id last. It is opaque to
clients; inside are a version and the order's name, so that a cursor of another list or an older format is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson

from app.errors import InvalidArgument
from app.settings import Settings

Item = TypeVar("Item")
Key = tuple[Any, ...]

CURSOR_VERSION = 1
MAX_CURSOR_LENGTH = 1000


class OrderDirection(StrEnum):
    """Which way an order goes."""

    ASC = "ASC"
    DESC = "DESC"


@dataclass(frozen=True, slots=True)
class PageArgs:
    """Which page is asked: the ``first`` rows after a cursor, or the ``last`` rows before one.

    With neither ``first`` nor ``last``, the page has the default size.
    """

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page: the items in order, the cursor of each, and whether there are more on either side.

    ``has_previous`` of a page read forward (``has_next`` of one read backward) says whether a cursor was given: rows
    on that side are not searched for.
    """

    items: list[Item]
    cursors: list[str]
    has_next: bool
    has_previous: bool


@dataclass(frozen=True, slots=True)
class Window:
    """Checked page arguments: read ``size`` rows, from the end when ``backward``, between two keys."""

    size: int
    backward: bool
    after: Key | None
    before: Key | None

    def ends(self, *, ascending: bool) -> list[tuple[Key, bool]]:
        """The keys that there are, each with whether the window lies above it in an order."""
        ends = ((self.after, ascending), (self.before, not ascending))
        return [(key, above) for key, above in ends if key is not None]


@dataclass(frozen=True, slots=True)
class Keyset:
    """One order of one list: its name, and the types of the values that a cursor holds."""

    name: str
    types: tuple[type[UUID] | type[datetime] | type[int] | type[str], ...]

    def cursor(self, key: Key) -> str:
        """The cursor of the row that has these values."""
        # The driver's own kind of UUID is a subclass, which the encoder leaves to ``default``.
        text = orjson.dumps([CURSOR_VERSION, self.name, *key], default=str)
        return base64.urlsafe_b64encode(text).rstrip(b"=").decode()

    def key(self, cursor: str, argument: str) -> Key:
        """The values inside a cursor. Raises ``InvalidArgument`` when it is broken or belongs to another list."""
        try:
            version, name, *values = _decoded(cursor)
            if (version, name) == (CURSOR_VERSION, self.name):
                return tuple(_READERS[kind](value) for kind, value in zip(self.types, values, strict=True))
        except (ValueError, TypeError, AttributeError, OverflowError):
            raise InvalidArgument(
                f"'{argument}' is no cursor. Pass one that a page of this list returned, unchanged.", path=(argument,)
            ) from None
        raise InvalidArgument(
            f"'{argument}' is a cursor of another list or order. Pass one from a page of the same list, read in "
            "the same order.",
            path=(argument,),
        )


def _decoded(cursor: str) -> Any:
    if len(cursor) > MAX_CURSOR_LENGTH:
        raise ValueError
    padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
    return orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))


def _read_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**31:
        raise ValueError
    return value


def _read_str(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value


def _read_time(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError
    # The driver does the same, where a time outside of the years 1 to 9999 would be a bug.
    return moment.astimezone(UTC)


_READERS: dict[Any, Callable[[Any], Any]] = {UUID: UUID, datetime: _read_time, int: _read_int, str: _read_str}


def window(page: PageArgs, keyset: Keyset, settings: Settings) -> Window:
    """Check page arguments. Raises ``InvalidArgument`` that names the limit."""
    limit = settings.max_page_size
    if page.first is not None and page.last is not None:
        raise InvalidArgument("Pass 'first' or 'last', not both.", path=("last",))
    _check_size("first", page.first, limit)
    _check_size("last", page.last, limit)
    size = page.last if page.last is not None else page.first
    return Window(
        size=min(settings.default_page_size, limit) if size is None else size,
        backward=page.last is not None,
        after=keyset.key(page.after, "after") if page.after is not None else None,
        before=keyset.key(page.before, "before") if page.before is not None else None,
    )


def _check_size(argument: str, size: int | None, limit: int) -> None:
    if size is not None and not (isinstance(size, int) and 0 <= size <= limit):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgument(
            f"'{argument}' is {size}, but must be 0 to {limit}. Follow pageInfo's cursors to read more.",
            path=(argument,),
        )


def make_page(rows: Sequence[Item], window: Window, keyset: Keyset, key: Callable[[Item], Key]) -> Page[Item]:
    """The page from up to ``window.size + 1`` rows, as read: in reverse when the window reads backward.

    ``key`` gives the values that the order sorts by.
    """
    more = len(rows) > window.size
    items = list(rows[: window.size])
    if window.backward:
        items.reverse()
    return Page(
        items=items,
        cursors=[keyset.cursor(key(item)) for item in items],
        has_next=window.before is not None if window.backward else more,
        has_previous=more if window.backward else window.after is not None,
    )
