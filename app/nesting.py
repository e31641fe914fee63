"""How deep JSON may nest: what goes in must come out again, and orjson writes 254 levels, those of an answer included.

A deeper value could be stored, but no answer that shows it could be written, nor what it says of others beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import orjson

MAX_NESTING = 200


def may_nest_too_deeply(data: bytes) -> bool:
    """Whether JSON text has as many brackets as it takes; most has not, and need not be looked at."""
    return data.count(b"[") + data.count(b"{") > MAX_NESTING


def nests_too_deeply(value: object, most: int = MAX_NESTING) -> bool:
    """Whether a decoded JSON value has more than so many levels, looked at level by level, without recursion."""
    level = [value]
    for _ in range(most):
        level = [child for container in level for child in _children(container)]
        if not level:
            return False
    return any(isinstance(value, (dict, list)) for value in level)


def text_nests_too_deeply(data: bytes) -> bool:
    """The same for JSON text, which is decoded only where it may. Raises ``JSONDecodeError``."""
    return may_nest_too_deeply(data) and nests_too_deeply(orjson.loads(data))


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()
