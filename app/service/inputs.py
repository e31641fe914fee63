"""The input of a trigger: as JSON text, its digest, and whether it fits a schema that this process has no code for."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, cast

import orjson
from pydantic import BaseModel

from app.errors import InputIssue, InvalidArgument
from app.nesting import MAX_NESTING, text_nests_too_deeply
from app.registry import MAX_ISSUES

if TYPE_CHECKING:
    import jsonschema_rs

PATH = ("input", "input")
REGEX_BACKTRACK_LIMIT = 100_000
EMPTY = b"{}"
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class Validator(Protocol):
    """What is used of a compiled JSON Schema."""

    def iter_errors(self, instance: Any) -> Iterator[jsonschema_rs.ValidationError]: ...


def encode(value: Any) -> bytes:
    """The canonical JSON text of an input: compact, keys sorted. Raises ``InvalidArgument`` for what is not JSON."""
    if value is None:
        return EMPTY
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=_plain)
    except TypeError as error:
        raise InvalidArgument(f"The input is not JSON: {error}.", path=PATH) from None
    if b"\\u0000" in text and _NUL.search(text):
        raise InvalidArgument("The input holds a NUL character (\\u0000), which cannot be stored.", path=PATH)
    # The encoder writes null for NaN and infinity, silently.
    if b"null" in text and not _is_finite(value):
        raise InvalidArgument("The input holds NaN or an infinite number, which JSON does not have.", path=PATH)
    if text_nests_too_deeply(text):
        raise InvalidArgument(f"The input nests more than {MAX_NESTING} levels of JSON. Make it flatter.", path=PATH)
    return text


def check_size(text: bytes, limit: int) -> None:
    """Check that an input is not too large. Raises ``InvalidArgument``."""
    if len(text) > limit:
        raise InvalidArgument(
            f"The input has {len(text)} bytes as JSON, but at most {limit} are allowed (TASKLOOM_MAX_INPUT_BYTES). "
            "Store it elsewhere and pass a reference.",
            path=PATH,
        )


def digest(text: bytes) -> str:
    """What tells whether two inputs are the same: BLAKE2b, 128 bits, of the canonical text."""
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def compile_schema(schema: dict[str, Any]) -> Validator:
    """A validator for a schema. It fetches nothing, and no regular expression in it can take exponential time."""
    # Loaded by those who need it, because it takes 8 MB: a worker has the code of what it triggers.
    import jsonschema_rs

    options: dict[str, Any] = {"mask": "the value", "offline": True, "validate_formats": True}
    try:
        return jsonschema_rs.validator_for(schema, pattern_options=jsonschema_rs.RegexOptions(), **options)
    except (ValueError, jsonschema_rs.ValidationError):
        # A pattern with lookaround needs the backtracking engine, which gives up after a bounded number of steps.
        bounded = jsonschema_rs.FancyRegexOptions(backtrack_limit=REGEX_BACKTRACK_LIMIT)
        return jsonschema_rs.validator_for(schema, pattern_options=bounded, **options)


def issues(validator: Validator, text: bytes) -> tuple[InputIssue, ...]:
    """What does not fit, in words that never quote the value."""
    found: list[InputIssue] = []
    for error in validator.iter_errors(orjson.loads(text)):
        found.append(InputIssue(_path(error), _words(error), error.kind.name))
        if len(found) == MAX_ISSUES:
            break
    return tuple(found)


def _path(error: jsonschema_rs.ValidationError) -> tuple[str, ...]:
    return tuple(str(part) for part in error.instance_path)


def _words(error: jsonschema_rs.ValidationError) -> str:
    """What is wrong. Of what may be one of several things, as in ``date | None``, why it is none of them."""
    # Each thing that it may be, with what it lacks to be that.
    choices: Any = getattr(error.kind, "context", None)
    if not choices or error.kind.name != "anyOf":
        return error.message
    lacks = [_word(lack[0], len(error.instance_path)) for lack in choices[:MAX_ISSUES] if lack]
    return f"none of what is allowed fits: {'; '.join(dict.fromkeys(lacks))}"


def _word(error: jsonschema_rs.ValidationError, depth: int) -> str:
    below = ".".join(_path(error)[depth:])
    return f"{below}: {error.message}" if below else error.message


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def _is_finite(value: Any) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, float) and not math.isfinite(item):
            return False
        if isinstance(item, dict):
            stack.extend(cast(dict[str, Any], item).values())
        elif isinstance(item, (list, tuple)):
            stack.extend(cast(list[Any], item))
    return True
