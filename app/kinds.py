"""Arguments of the kind that they are declared as: anything else is refused by name before it breaks something."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import is_dataclass
from datetime import datetime
from enum import Enum, StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from app.errors import InvalidArgument

NO_LISTS: tuple[type, ...] = (str, bytes, Mapping)
"""What holds many, and is no list of them."""
Word = TypeVar("Word", bound=StrEnum)
Path = tuple[str, ...]
LARGEST_INTEGER = 2**31 - 1
"""What a column for whole numbers holds at most."""
DEEPEST = 12
"""How many names a place in an argument has at most; what nests deeper is refused by those who look into it."""
_WORDS: dict[Any, str] = {
    str: "a text", int: "a whole number", float: "a number", bool: "True or False", NoneType: "None",
    Collection: "a list", Sequence: "a list", Mapping: "a mapping", tuple: "a tuple", Callable: "a function",
}  # fmt: skip


def of_kind(value: object, kind: type, field: str, path: Path | None = None) -> None:
    """Check that a value is of a kind. Raises ``InvalidArgument``."""
    if not isinstance(value, kind):
        raise _refusal(value, _words(kind), f"'{field}'", path or (field,))


def listed(values: Any, kind: type, field: str) -> None:
    """Check that values are a list of one kind, or a set, and no text. Raises ``InvalidArgument``."""
    if not _is(values, Collection):
        raise _refusal(values, _words(Collection), f"'{field}'", (field,))
    for value in values:
        if not isinstance(value, kind):
            raise _refusal(value, _words(kind), f"Each of '{field}'", (field,))


def aware(moment: datetime, field: str, path: Path | None = None) -> datetime:
    """The time, when it has a timezone. Raises ``InvalidArgument`` otherwise, and for what is no time."""
    of_kind(moment, datetime, field, path)
    if moment.tzinfo is None:
        message = f"'{field}' has no timezone. Write the offset, as in 2026-01-31T12:00:00Z."
        raise InvalidArgument(message, path=path or (field,))
    return moment


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


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold a text: one without NUL and without half of a surrogate pair."""
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def declared(value: Any, annotation: Any, field: str) -> None:
    """Check that a value is what an annotation says, and all that it holds too. Raises ``InvalidArgument``."""
    _check(value, annotation, f"'{field}'", (field,))


def _check(value: Any, annotation: Any, named: str, path: Path) -> None:
    kinds = _kinds(annotation)
    kind = next((kind for kind in kinds if _is(value, kind)), None)
    if kind is None:
        raise _refusal(value, " or ".join(map(_words, kinds)), named, path)
    held = get_args(kind)
    if is_dataclass(kind) and len(path) < DEEPEST:
        for name, own, plain in _fields(kind):
            if not isinstance(part := getattr(value, name), plain):
                word = name.rstrip("_")
                _check(part, own, f"'{word}'", (*path, word))
    elif isinstance(value, tuple) and get_origin(kind) is tuple:
        for part, own in zip(cast("tuple[Any, ...]", value), held, strict=True):
            _check(part, own, f"Each of {named}", path)
    elif get_origin(kind) in (Collection, Sequence):
        plain = _plain(held[0])
        for item in cast("Collection[Any]", value):
            if not isinstance(item, plain):
                _check(item, held[0], f"Each of {named}", path)


def _refusal(value: object, allowed: str, named: str, path: Path) -> InvalidArgument:
    return InvalidArgument(f"{named} must be {allowed}, not {type(value).__name__}.", path=path)


def _plain(annotation: Any) -> tuple[type, ...]:
    """Those of an annotation's classes that say all about a value; most values are of one of them, which is quick."""
    more = (Any, bool, int, float)
    classes: list[Any] = [kind for kind in _kinds(annotation) if get_origin(kind) is None and kind not in more]
    return tuple([kind for kind in classes if not is_dataclass(kind)])


@cache
def _kinds(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


@cache
def _fields(kind: Any) -> list[tuple[str, Any, tuple[type, ...]]]:
    return [(name, own, _plain(own)) for name, own in get_type_hints(kind).items()]


def _is(value: Any, kind: Any) -> bool:
    plain = get_origin(kind) or kind
    if plain is Any:
        return True
    if isinstance(value, bool):
        return plain is bool
    if plain is float:
        return isinstance(value, (int, float))
    if plain in (Collection, Sequence):
        return isinstance(value, Collection) and not isinstance(value, NO_LISTS)
    if plain is tuple:
        return isinstance(value, tuple) and len(cast("tuple[Any, ...]", value)) == len(get_args(kind))
    return isinstance(value, plain)


def _words(kind: Any) -> str:
    plain = get_origin(kind) or kind
    if plain in _WORDS:
        return _WORDS[plain]
    words = f"a{'n' if plain.__name__[0] in 'AEIO' else ''} {plain.__name__}"
    return f"{words} ({', '.join(plain.__members__)})" if issubclass(plain, Enum) else words
