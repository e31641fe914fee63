"""Documents as text for other places: JSON or YAML, written so that two of them diff well, and read strictly.

Whatever is written is read back as it was, in either form. YAML is read as the part of it that every reader understands
alike: see ``app.yaml_text``.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, NoReturn

import orjson

from app.errors import InvalidArgument
from app.nesting import nests_too_deeply

MAX_DEPTH = 300
"""How deep lists and objects may lie in each other; no input of a run can be deeper."""
_PATH = ("input", "text")


class TextFormat(StrEnum):
    """How a document is written as text."""

    JSON = "JSON"
    YAML = "YAML"


def write(document: dict[str, Any], form: TextFormat) -> str:
    """A JSON value as text that ends with a new line; members keep their order."""
    if form is TextFormat.JSON:
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    from app.yaml_text import write_yaml

    return write_yaml(document)


def read(text: str, form: TextFormat | None, max_bytes: int) -> Any:
    """The JSON value that a text says; without a form, what begins with a brace is JSON.

    Raises ``InvalidArgument`` that says where the text is wrong: no JSON, no plain YAML, a member named twice, nested
    deeper than ``MAX_DEPTH``, longer than ``max_bytes``.
    """
    size = len(text.encode(errors="surrogatepass"))
    if size > max_bytes:
        raise unreadable(
            f"The text has {size} bytes, but at most {max_bytes} are allowed (TASKLOOM_MAX_TRANSFER_BYTES). "
            "Export and import in parts, as one group at a time."
        )
    if form is None:
        form = TextFormat.JSON if text.lstrip("\ufeff \t\r\n").startswith("{") else TextFormat.YAML
    if form is TextFormat.JSON:
        return _read_json(text)
    from app.yaml_text import read_yaml

    return read_yaml(text.removeprefix("\ufeff"))


def unreadable(message: str) -> InvalidArgument:
    """The refusal of a text."""
    return InvalidArgument(message, path=_PATH)


def number(token: str) -> int | float:
    """The number that a token of JSON's grammar says, as JSON readers of 64 bits read it: never infinite."""
    try:
        return orjson.loads(token)
    except orjson.JSONDecodeError:
        raise unreadable(f"The number {token[:20]}… is larger than any that can be stored.") from None


def _read_json(text: str) -> Any:
    try:
        value = json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=number,
            parse_int=number,
        )
    except json.JSONDecodeError as error:
        raise unreadable(f"The text is no JSON: {error.msg} in line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise too_deep() from None
    if nests_too_deeply(value, MAX_DEPTH):
        raise too_deep()
    # Escapes can write half of a pair; nothing else can.
    if "\\ud" in text.lower():
        _check_pairs(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise unreadable(f"An object names '{twice[:100]}' twice.")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise unreadable(f"{name} is no JSON.")


def too_deep(line: int | None = None) -> InvalidArgument:
    """The refusal of a text that nests too deeply."""
    where = "" if line is None else f" in line {line}"
    return unreadable(f"Lists and objects lie more than {MAX_DEPTH} deep in each other{where}.")


def _check_pairs(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise unreadable("The text holds half of a surrogate pair, which is no character.") from None
