"""Arguments of the kind that they are declared as: anything else is refused by name before it breaks something."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, TypeVar, cast

from app.errors import InvalidArgument

NO_LISTS: tuple[type, ...] = (str, bytes, Mapping)
"""What holds many, and is no list of them."""
Word = TypeVar("Word", bound=StrEnum)
Kind = type | tuple[type, ...]
Path = tuple[str, ...]
LARGEST_INTEGER = 2**31 - 1
"""What a column for whole numbers holds at most."""


def of_kind(value: object, kind: Kind, field: str, path: Path | None = None) -> None:
    """Check that a value is of a kind. Raises ``InvalidArgument``."""
    if not isinstance(value, kind):
        raise InvalidArgument(f"'{field}' must be a {_name(kind)}, not {type(value).__name__}.", path=path or (field,))


def listed(values: Any, kind: Kind, field: str, path: Path | None = None) -> None:
    """Check that values are a list of one kind, or a set, and no text. Raises ``InvalidArgument``."""
    if isinstance(values, NO_LISTS) or not isinstance(values, Collection):
        raise InvalidArgument(
            f"'{field}' must be a list of {_name(kind)}s, not {type(values).__name__}.", path=path or (field,)
        )
    for value in cast("Collection[Any]", values):
        if not isinstance(value, kind):
            raise InvalidArgument(
                f"'{field}' must be a list of {_name(kind)}s, but holds {type(value).__name__}.", path=path or (field,)
            )


def whole(value: object, field: str, low: int, high: int, path: Path | None = None) -> None:
    """Check that a value is a whole number within bounds. Raises ``InvalidArgument``."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        shown = value if isinstance(value, (int, float)) else type(value).__name__
        raise InvalidArgument(
            f"'{field}' is {shown}, but must be a whole number from {low} to {high}.", path=path or (field,)
        )


def one_of(value: object, words: type[Word], field: str, path: Path | None = None) -> Word:
    """The word that a value names. Raises ``InvalidArgument`` where it names none of them."""
    try:
        return words(str(value))
    except ValueError:
        raise InvalidArgument(f"'{field}' must be one of {', '.join(words)}.", path=path or (field,)) from None


def _name(kind: Kind) -> str:
    return " or ".join(map(_name, kind)) if isinstance(kind, tuple) else "text" if kind is str else kind.__name__
