"""YAML without its traps: a text means one JSON value, whichever version of YAML a reader goes by, or is refused.

Not read are anchors, aliases and merge keys (a few lines of which can stand for gigabytes), tags, a second document in
a text, members named twice, and words without quotes that versions of YAML read differently: ``no``, ``0777``,
``12:30``, ``2026-01-31``, ``1_000``, ``.5``. Strings are written in quotes wherever there could be a doubt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import orjson
import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from app.interchange import MAX_DEPTH, number, too_deep, unreadable

MAX_VALUES = 2_000_000
"""How many texts, numbers, lists and objects are read: each takes some microseconds, which JSON does not."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVERS: dict[str, list[tuple[str, re.Pattern[str]]]] = cast(Any, yaml.SafeLoader).yaml_implicit_resolvers
_WORDS = {"null": None, "true": True, "false": False, "": None}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
# What PyYAML takes as text although YAML 1.1 or 1.2 has another meaning for it.
_OTHERS = re.compile(
    r"[yn]|[-+]?(?:\.[0-9_]+|[0-9][0-9_]*\.?[0-9_]*)(?:e[-+]?[0-9]+)?|[-+]?0[xob][0-9a-f_]+|[-+]?\.(?:inf|nan)",
    re.ASCII | re.IGNORECASE,
)
_PLAIN = re.compile(r"[A-Za-z](?:[A-Za-z0-9_./@+-]| (?=[A-Za-z0-9]))*", re.ASCII)
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


# Reading.


@dataclass(slots=True)
class _Container:
    """A list or an object that is being read."""

    value: Any
    is_list: bool
    key: str | None = None

    def add(self, item: Any) -> None:
        """Take the next item, or the value of the last key."""
        if self.is_list:
            self.value.append(item)
        else:
            self.value[self.key] = item
            self.key = None


def read_yaml(text: str) -> Any:
    """The JSON value that a YAML text says. Raises ``InvalidArgument`` with the line that is wrong."""
    try:
        return _read(cast("Iterator[Event]", yaml.parse(text, Loader=_LOADER)))  # pyright: ignore[reportUnknownMemberType]
    except yaml.YAMLError as error:
        raise unreadable(f"The text is no YAML: {_problem(error)}") from None
    except UnicodeEncodeError:
        raise unreadable("The text holds half of a surrogate pair, which is no character.") from None


def _problem(error: yaml.YAMLError) -> str:
    mark: Any = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    return f"{said}{'' if mark is None else f' in line {mark.line + 1}, column {mark.column + 1}'}."


def _read(events: Iterator[Event]) -> Any:
    root: list[Any] = []
    stack = [_Container(root, True)]
    documents = values = 0
    for event in events:
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise unreadable(f"A second document begins in line {_line(event)}; a text holds one.")
        elif isinstance(event, (SequenceEndEvent, MappingEndEvent)):
            stack.pop()
        elif isinstance(event, NodeEvent):
            values += 1
            if values > MAX_VALUES:
                raise unreadable(
                    f"The text has more than {MAX_VALUES} values. Write it as JSON, or import it in parts."
                )
            _take(event, stack)
    if not root:
        raise unreadable("The text is empty.")
    return root[0]


def _take(event: NodeEvent, stack: list[_Container]) -> None:
    if isinstance(event, AliasEvent) or event.anchor is not None:
        raise unreadable(f"Line {_line(event)} has an anchor or an alias. Write out what it stands for.")
    if getattr(event, "tag", None) is not None:
        raise unreadable(f"Line {_line(event)} has a tag. Only plain values are read, without '!'.")
    top = stack[-1]
    if not top.is_list and top.key is None:
        top.key = _key(event, top.value)
    elif isinstance(event, ScalarEvent):
        top.add(_scalar(event))
    else:
        inner = _Container([], True) if isinstance(event, SequenceStartEvent) else _Container({}, False)
        top.add(inner.value)
        stack.append(inner)
        if len(stack) > MAX_DEPTH + 1:
            raise too_deep(_line(event))


def _key(event: NodeEvent, taken: dict[str, Any]) -> str:
    if not isinstance(event, ScalarEvent):
        raise unreadable(f"Line {_line(event)} has a list or an object as a name; names are texts.")
    name = _text(event)
    if event.implicit[0] and (name in _WORDS or _NUMBER.fullmatch(name) or is_ambiguous(name)):
        raise unreadable(f'Line {_line(event)} has the name {name[:40]} without quotes. Write "{name[:40]}".')
    if name in taken:
        raise unreadable(f"Line {_line(event)} names '{name[:100]}' a second time in the same object.")
    return name


def _scalar(event: ScalarEvent) -> Any:
    text = _text(event)
    # Plain means without quotes.
    if not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        return number(text)
    if is_ambiguous(text):
        raise unreadable(
            f"Line {_line(event)} has {text[:40]} without quotes, which readers of YAML take for different things. "
            f'Write "{text[:40]}" for the text, or a number, true, false or null as JSON writes them.'
        )
    return text


def is_ambiguous(word: str) -> bool:
    """Whether a word without quotes is anything but a text to some version of YAML; JSON's own words left aside."""
    if any(pattern.match(word) for _, pattern in _RESOLVERS.get(word[:1], ())):
        return True
    return _OTHERS.fullmatch(word) is not None


def _text(event: ScalarEvent) -> str:
    return cast(str, event.value)


def _line(event: Event) -> int:
    mark: Any = event.start_mark
    return mark.line + 1


# Writing.


def write_yaml(value: dict[str, Any]) -> str:
    """A JSON value as YAML in block style; lists and objects that are empty in flow style."""
    lines: list[str] = []
    _write_object(value, "", lines, "")
    return "\n".join(lines) + "\n"


def _write_object(value: dict[str, Any], indent: str, lines: list[str], first: str) -> None:
    """Lines of an object; the first begins with ``first`` instead of the indent, as after the dash of a list."""
    for name, member in value.items():
        key = f"{first or indent}{_word(name)}:"
        first = ""
        if isinstance(member, dict) and member:
            lines.append(key)
            _write_object(cast("dict[str, Any]", member), indent + "  ", lines, "")
        elif isinstance(member, list) and member:
            lines.append(key)
            _write_list(cast("list[Any]", member), indent + "  ", lines, "")
        else:
            lines.append(f"{key} {_leaf(member, indent)}")


def _write_list(items: list[Any], indent: str, lines: list[str], first: str) -> None:
    for item in items:
        dash = f"{first or indent}- "
        first = ""
        if isinstance(item, dict) and item:
            _write_object(cast("dict[str, Any]", item), indent + "  ", lines, dash)
        elif isinstance(item, list) and item:
            _write_list(cast("list[Any]", item), indent + "  ", lines, dash)
        else:
            lines.append(f"{dash}{_leaf(item, indent)}")


def _leaf(value: Any, indent: str) -> str:
    if isinstance(value, str):
        return _block(value, indent + "  ") if "\n" in value and _is_straight(value) else _word(value)
    return orjson.dumps(value).decode()


def _is_straight(text: str) -> bool:
    """Whether the lines of a text can stand as they are: none ends with a space, the first begins without one."""
    lines = text.removesuffix("\n").split("\n")
    if not lines[0] or not lines[-1] or lines[0].startswith(" ") or "\t" in text or _UNSAFE.search(text):
        return False
    return all(line == line.rstrip() for line in lines)


def _block(text: str, indent: str) -> str:
    body = "\n".join(indent + line if line else "" for line in text.removesuffix("\n").split("\n"))
    return f"{'|' if text.endswith(chr(10)) else '|-'}\n{body}"


def _word(text: str) -> str:
    """A text as one word, in quotes unless it can only be a text."""
    if _PLAIN.fullmatch(text) and text not in _WORDS and not is_ambiguous(text):
        return text
    quoted = orjson.dumps(text).decode()
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
