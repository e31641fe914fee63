"""What clients see of an error: a code, the request's id, and a message that gives nothing away when it was a bug."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from graphql import GraphQLError
from strawberry.exceptions import StrawberryGraphQLError

from app.db import is_disconnect
from app.errors import ErrorCode, TaskError

if TYPE_CHECKING:
    from collections.abc import Iterable

PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
QUERY_TOO_COMPLEX = "QUERY_TOO_COMPLEX"
BAD_REQUEST = "BAD_REQUEST"
INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"

UNAVAILABLE = (
    "Taskloom cannot reach its database right now. Try again in a few seconds; "
    "a triggerTask with an idempotencyKey can safely be sent again."
)
BUG = "Something went wrong on our side. It was logged as request {}; tell it to whoever runs this server."

_PYTHON_WORDS = {"None": "null", "True": "true", "False": "false"}
_QUOTED_OR_PYTHON_WORD = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\b(?:None|True|False)\b""", re.DOTALL)

logger = logging.getLogger("taskloom.graphql")


class RequestRefused(Exception):
    """A request that is answered without being executed.

    ``status`` is the HTTP status, ``errors`` is what the answer says; ``malformed`` tells a request that is no
    GraphQL request at all (answered with its status whatever the client accepts) from a GraphQL request that failed.
    """

    def __init__(self, status: int, errors: list[GraphQLError], *, malformed: bool = True) -> None:
        super().__init__(errors[0].message)
        self.status = status
        self.errors = errors
        self.malformed = malformed


def refuse(status: int, code: str, message: str) -> RequestRefused:
    """The refusal of a request that never reaches GraphQL: an HTTP status, a code and a sentence."""
    return RequestRefused(status, [GraphQLError(message, extensions={"code": code})])


def refuse_operation(code: str, errors: Iterable[GraphQLError]) -> RequestRefused:
    """The refusal of a GraphQL request: each error gets the code, unless it has one of its own."""
    return RequestRefused(400, [with_code(error, code) for error in errors], malformed=False)


def with_code(error: GraphQLError, code: str) -> GraphQLError:
    """The error as clients see it, with ``extensions.code``; a code that is there already stays."""
    return _copy(error, in_words_of_graphql(error.message), {"code": code, **(error.extensions or {})})


def in_words_of_graphql(message: str) -> str:
    """A message of graphql-core's with the values in it as clients write them: null, not None.

    What stands in quotes is the client's own, or a name.
    """
    return _QUOTED_OR_PYTHON_WORD.sub(lambda found: _PYTHON_WORDS.get(found[0], found[0]), message)


def with_request_id(error: GraphQLError, request_id: str) -> GraphQLError:
    """The error as clients see it, with ``extensions.requestId``."""
    return _copy(error, error.message, {**(error.extensions or {}), "requestId": request_id})


def publish(error: GraphQLError, request_id: str) -> GraphQLError:
    """What a client may see of an error that execution raised.

    Refusals keep their message and code. An unreachable database is ``SERVICE_UNAVAILABLE``. Everything else is a
    bug: it is logged once, with its traceback, and masked.
    """
    cause = _root_cause(error)
    if isinstance(cause, TaskError):
        shown = _copy(error, cause.message, _task_extensions(cause))
    elif isinstance(cause, GraphQLError) and (code := _code_of(cause)):
        shown = with_code(_copy(error, cause.message, cause.extensions or {}), code)
    elif is_disconnect(cause):
        logger.warning("The database cannot be reached: %r (request %s).", cause, request_id)
        shown = _copy(error, UNAVAILABLE, {"code": ErrorCode.SERVICE_UNAVAILABLE.value})
    else:
        place = ".".join(map(str, error.path or ())) or "the operation"
        logger.error("A bug in %s (request %s).", place, request_id, exc_info=cause)
        shown = _copy(error, BUG.format(request_id), {"code": INTERNAL_SERVER_ERROR})
    return with_request_id(shown, request_id)


def _root_cause(error: GraphQLError) -> BaseException:
    cause: BaseException = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def _code_of(cause: GraphQLError) -> str | None:
    """The code of an error that was raised as a GraphQLError, or None where that is a bug.

    graphql-core gives its refusals of arguments a node; its failures to serialise a value have none.
    """
    if cause.extensions and "code" in cause.extensions:
        return str(cause.extensions["code"])
    if isinstance(cause, StrawberryGraphQLError):
        return ErrorCode.FORBIDDEN.value
    return ErrorCode.BAD_USER_INPUT.value if cause.nodes else None


def _task_extensions(cause: TaskError) -> dict[str, object]:
    extensions: dict[str, object] = {"code": cause.code.value}
    if cause.path:
        extensions["inputPath"] = list(cause.path)
    return extensions


def _copy(error: GraphQLError, message: str, extensions: dict[str, object]) -> GraphQLError:
    return GraphQLError(message, error.nodes, error.source, error.positions, error.path, extensions=extensions)
