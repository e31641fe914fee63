"""Which kind of answer a client accepts: JSON of the old or the new type, a stream of events, or a page.

GraphQL over HTTP (GraphQL Foundation working draft), "Media Types" and "Accept": a missing header means
``application/json``, as legacy clients expect.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"
EVENTS = "text/event-stream"
PAGE = "text/html"

_MEANS_JSON = {JSON: JSON, GRAPHQL_JSON: GRAPHQL_JSON, "application/*": JSON, "*/*": JSON}


class Accepted(NamedTuple):
    """What a client accepts: ``json`` is the JSON media type it likes best, or None when it accepts none."""

    json: str | None
    events: bool
    page: bool


@lru_cache(maxsize=256)
def accepted(header: str) -> Accepted:
    """Read an ``Accept`` header (RFC 9110, 12.5.1); an empty one accepts ``application/json``.

    Events are chosen only by clients that accept no JSON: several send ``text/event-stream`` along with every query.
    A page is for browsers, which name ``text/html`` and no JSON type.
    """
    types = _by_preference(header)
    if not types:
        return Accepted(JSON, events=False, page=False)
    json = next((_MEANS_JSON[kind] for kind in types if kind in _MEANS_JSON), None)
    page = PAGE in types and JSON not in types and GRAPHQL_JSON not in types
    return Accepted(json, events=json is None and EVENTS in types, page=page)


def _by_preference(header: str) -> list[str]:
    """The accepted media types, best first: by quality, then in the order they are written."""
    ranges = [part.split(";") for part in header.lower().split(",") if part.strip()]
    weighted = [(kind.strip(), _quality(parameters)) for kind, *parameters in ranges]
    return [kind for kind, quality in sorted(weighted, key=lambda pair: -pair[1]) if quality > 0]


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
