"""What task code hands over, as JSON text that PostgreSQL can store, or a refusal that says what is wrong."""

from __future__ import annotations

import re
from typing import Any

import orjson
from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError, to_jsonable_python

from app.nesting import MAX_NESTING, text_nests_too_deeply

_DOUBLE_DIGITS = re.compile(rb"\d{309}")
"""With fewer digits every number fits into a double."""
_NUL_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
NUL_SHOWN = "\u2400"


class NotStorable(ValueError):
    """A value that task code returned or saved cannot be stored; the message says why and what to do."""


def encode(value: Any, what: str, limit: int, adapter: TypeAdapter[Any] | None = None) -> str:
    """A value as JSON text of at most ``limit`` bytes. Raises ``NotStorable``, whose message calls it ``what``."""
    try:
        data = adapter.dump_json(value, warnings="error") if adapter else orjson.dumps(value, default=_model)
    except Exception as error:
        # Whatever a serializer of theirs may raise.
        raise NotStorable(f"The {what} is not JSON: {error}") from error
    if len(data) > limit:
        raise NotStorable(
            f"The {what} has {len(data):,} bytes as JSON; at most {limit:,} are stored. Store a reference."
        )
    if adapter and _DOUBLE_DIGITS.search(data) and not _is_readable(data):
        raise NotStorable(f"The {what} has a number that is too large to be read again. Make it a string.")
    if text_nests_too_deeply(data):
        raise NotStorable(f"The {what} nests more than {MAX_NESTING} levels of JSON. Make it flatter.")
    text = data.decode()
    if "\\u0000" in text and _NUL_ESCAPE.search(text):
        raise NotStorable(
            f"The {what} has a NUL character (\\u0000), which PostgreSQL cannot store. Remove or escape it."
        )
    return text


def _is_readable(data: bytes) -> bool:
    """Whether whoever reads the JSON again can: the serializers of models write numbers of any size."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def _model(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return to_jsonable_python(value)


def plain(text: str, limit: int) -> str:
    """Text as PostgreSQL can store it: NUL made visible, lone surrogates replaced, cut at ``limit`` bytes of UTF-8."""
    if text.isascii() and len(text) <= limit and "\x00" not in text:
        return text
    data = text.replace("\x00", NUL_SHOWN).encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    return f"{data[:limit].decode('utf-8', 'ignore')}… (cut; the whole has {len(data):,} bytes)"


def encode_data(data: dict[str, Any], limit: int) -> str | None:
    """The data of a log line as JSON text: what is not JSON is shown as text, what is too large is visibly left out."""
    if not data:
        return None
    try:
        written = orjson.dumps(data, default=_text_of, option=orjson.OPT_NON_STR_KEYS)
        if text_nests_too_deeply(written):
            raise ValueError(f"it nests more than {MAX_NESTING} levels of JSON")
        text = written.decode()
    except (TypeError, ValueError) as error:
        text = orjson.dumps({"unreadable": plain(str(error), 500)}).decode()
    if len(text) > limit:
        return orjson.dumps({"leftOut": f"{len(text):,} bytes of data; at most {limit:,} are stored"}).decode()
    return _NUL_ESCAPE.sub(rf"\1{NUL_SHOWN}", text) if "\\u0000" in text else text


def _text_of(value: Any) -> Any:
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        return plain(repr(value), 500)
