"""What a client sends: reading GraphQL requests from HTTP bodies, URLs and WebSocket frames.

Whatever is wrong with one is refused with a status and a sentence before GraphQL sees it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl

import orjson

from app.nesting import MAX_NESTING, may_nest_too_deeply, nests_too_deeply
from app.schema.faults import BAD_REQUEST, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """One GraphQL request: the document's text, the variables, and which of its operations to run."""

    query: str
    variables: dict[str, Any]
    operation_name: str | None


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int, seconds: float) -> bytes:
    """The request's body, of at most ``limit`` bytes, which may take so many seconds to arrive.

    Raises RequestRefused when it is longer (413) or late (408), and ClientGone when the client leaves meanwhile.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _whole_body(receive, headers, limit)
    except TimeoutError:
        raise _too_late(seconds) from None


async def _whole_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _rest_of_body(receive, body, limit)
    elif message["type"] == "http.disconnect":
        raise ClientGone
    if len(body) > limit:
        raise _too_large(limit)
    return body


async def _rest_of_body(receive: Receive, start: bytes, limit: int) -> bytes:
    body = bytearray(start)
    more = True
    while more:
        if len(body) > limit:
            raise _too_large(limit)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def require_json_type(headers: Mapping[str, str]) -> None:
    """Refuse (415) a body that is not declared to be JSON in UTF-8, or that is compressed.

    A browser asks before it sends this type across sites, so requiring it also keeps forms of other sites out.
    """
    kind, _, parameters = headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/json":
        raise refuse(415, "UNSUPPORTED_MEDIA_TYPE", "Send the request as JSON, with Content-Type: application/json.")
    charset = parameters.lower().partition("charset=")[2].strip(' "')
    if charset and not charset.startswith(("utf-8", "utf8")):
        raise refuse(415, "UNSUPPORTED_MEDIA_TYPE", "The body must be encoded as UTF-8.")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise refuse(415, "UNSUPPORTED_MEDIA_TYPE", "The body must not be compressed: leave out Content-Encoding.")


def request_from_body(body: bytes) -> OperationRequest:
    """The GraphQL request in the body of a POST. Raises RequestRefused (400) for anything that is none."""
    payload = parse_json(body, "The request body")
    if isinstance(payload, list):
        raise refuse(400, BAD_REQUEST, "Batches are not supported: send one request at a time, or use triggerTasks.")
    return request_from_payload(payload)


def request_from_url(query_string: bytes) -> OperationRequest:
    """The GraphQL request in the query string of a GET. Raises RequestRefused (400) for anything that is none."""
    try:
        parameters: dict[str, Any] = dict(parse_qsl(query_string.decode("ascii"), errors="strict"))
    except ValueError as error:
        raise refuse(400, BAD_REQUEST, "The URL's query string is not percent-encoded UTF-8.") from error
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = parse_json(parameters[name].encode(), f"The URL parameter '{name}'")
    return request_from_payload(parameters)


def request_from_payload(payload: object) -> OperationRequest:
    """The GraphQL request in a decoded JSON value (GraphQL over HTTP, "Request Parameters").

    Raises RequestRefused (400) with a sentence that names the parameter.
    """
    if not isinstance(payload, dict):
        raise refuse(400, BAD_REQUEST, 'The request must be a JSON object, as in {"query": "{ viewer { version } }"}.')
    fields = cast("dict[str, Any]", payload)
    query = _field(fields, "query", str, "a string")
    if not query:
        raise refuse(400, BAD_REQUEST, "The request has no 'query': send the GraphQL document as a string.")
    _field(fields, "extensions", dict, "an object")
    variables = _field(fields, "variables", dict, "an object")
    return OperationRequest(query, variables or {}, _field(fields, "operationName", str, "a string") or None)


def _field(fields: dict[str, Any], name: str, kind: type, what: str) -> Any:
    value = fields.get(name)
    if value is not None and not isinstance(value, kind):
        raise refuse(400, BAD_REQUEST, f"'{name}' must be {what} or null.")
    return value


def parse_json(text: bytes | str, what: str) -> object:
    """Decode strict JSON in UTF-8: NaN, Infinity, unpaired surrogates and deep nesting are refused (400).

    ``what`` begins the message, as in "The request body".
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        value: object = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise refuse(400, BAD_REQUEST, f"{what} is not valid JSON in UTF-8: {error}.") from error
    if may_nest_too_deeply(data) and nests_too_deeply(value):
        raise refuse(400, BAD_REQUEST, f"{what} nests more than {MAX_NESTING} levels of JSON.")
    return value


def _too_large(limit: int) -> Exception:
    message = f"The request is larger than {limit} bytes (TASKLOOM_MAX_REQUEST_BYTES). Send less at once."
    return refuse(413, "PAYLOAD_TOO_LARGE", message)


def _too_late(seconds: float) -> Exception:
    message = (
        f"The request's body was not complete within {seconds:g} s (TASKLOOM_REQUEST_SECONDS). Send as many bytes as "
        "Content-Length announces, without a pause."
    )
    return refuse(408, "REQUEST_TIMEOUT", message)
