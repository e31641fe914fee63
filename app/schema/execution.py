"""Running GraphQL operations: one request in, one answer or a stream of answers out, whatever the transport.

Strawberry's own ``Schema.execute`` parses, validates and builds its extension machinery anew for every request, which
costs 2.8 ms where the execution takes 0.1; so its schema is run with graphql-core directly.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field, replace
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from graphql import ExecutionResult, GraphQLError, OperationType
from graphql.execution import create_source_event_stream  # pyright: ignore[reportUnknownVariableType]
from strawberry.execution import optimized_is_awaitable

from app import metrics
from app.errors import ErrorCode, TaskError
from app.ids import new_id
from app.schema.documents import Documents
from app.schema.faults import (
    BAD_REQUEST,
    INTERNAL_SERVER_ERROR,
    QUERY_TOO_COMPLEX,
    RequestRefused,
    publish,
    refuse,
    refuse_operation,
    with_request_id,
)
from app.schema.limits import Limits
from app.schema.measuring import count_refused, measured
from app.schema.survey import TooComplex
from app.schema.values import check_values

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping

    import strawberry
    from graphql.execution import Executor

    from app.schema.documents import Operation
    from app.schema.request import OperationRequest
    from app.settings import Settings

_STATUS_OF_CODE = {ErrorCode.FORBIDDEN: 403, ErrorCode.SERVICE_UNAVAILABLE: 503, INTERNAL_SERVER_ERROR: 500}


@dataclass(slots=True)
class Caller:
    """Who sent a request, as far as the transport knows: what a context is made from.

    ``headers`` have lower-case names; ``connection_params`` is what a WebSocket client sent with ``connection_init``;
    ``request_id`` is the ``requestId`` of errors; ``state`` lasts as long as the HTTP request or the WebSocket, so that
    a context factory can keep there what it found out.
    """

    # Headers and parameters hold credentials, which must not come into a log by way of a traceback.
    headers: Mapping[str, str] = field(repr=False)
    request_id: str
    connection_params: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    state: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)

    def for_operation(self) -> Caller:
        """The same caller with a request id of its own, for one of several operations on a WebSocket."""
        return replace(self, request_id=str(new_id()))


ContextFactory: TypeAlias = "Callable[[Caller], Awaitable[Any]]"
"""Makes the context of one operation, and of each event of a subscription, so that no loader outlives its answer.

A TaskError it raises refuses the request.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one execution brought: the data and what went wrong, ready to be shown.

    ``data`` may be None after an execution too, when an error reached the root.
    """

    data: dict[str, Any] | None
    errors: list[GraphQLError]

    @property
    def payload(self) -> dict[str, Any]:
        """The answer as GraphQL writes it (GraphQL specification, 7.1 "Response Format")."""
        if not self.errors:
            return {"data": self.data}
        return {"errors": [error.formatted for error in self.errors], "data": self.data}


class Engine:
    """Runs the operations of one schema, within its limits."""

    def __init__(self, schema: strawberry.Schema, get_context: ContextFactory, settings: Settings) -> None:
        if schema.extensions:
            raise ValueError("Strawberry extensions are not run: the engine parses, validates and limits by itself.")
        self._schema = schema._schema  # pyright: ignore[reportPrivateUsage]  # Strawberry has no public name for it.
        self._executor = cast("Any", schema).execution_context_class
        self._get_context = get_context
        self._limits = Limits.of(self._schema, settings)
        self._documents = Documents(self._limits)

    def prepare(self, request: OperationRequest) -> Operation:
        """The operation a request asks for. Raises RequestRefused where it is not valid or asks for too much."""
        operation = self._find(request)
        try:
            self._limits.check_cost(operation.shape, {**operation.page_defaults, **request.variables})
            check_values(operation.containers, request.variables, self._limits.max_values)
        except TooComplex as error:
            count_refused(operation.kind)
            raise refuse_operation(QUERY_TOO_COMPLEX, [GraphQLError(str(error))]) from error
        return operation

    def _find(self, request: OperationRequest) -> Operation:
        try:
            return self._documents.get(request.query).operation(request.operation_name)
        except RequestRefused:
            count_refused(None)
            raise

    async def context(self, caller: Caller) -> Any:
        """The context of one operation. Raises RequestRefused where the caller may not ask, or nobody can answer."""
        try:
            return await self._get_context(caller)
        except Exception as error:
            shown = publish(GraphQLError(str(error), original_error=error), caller.request_id)
            code = (shown.extensions or {})["code"]
            status = _STATUS_OF_CODE.get(code, 400 if isinstance(error, TaskError) else 500)
            raise RequestRefused(status, [shown]) from error

    async def run(self, operation: Operation, request: OperationRequest, caller: Caller) -> Answer:
        """Execute a query or a mutation. Raises RequestRefused where the variables or the caller are refused."""
        with measured(operation.kind) as ended:
            executor = self._build(operation, request, await self.context(caller))
            answer = await self._execute(executor, caller.request_id)
            ended("errors" if answer.errors else "answered")
            return answer

    async def begin(
        self, operation: Operation, request: OperationRequest, caller: Caller
    ) -> AsyncGenerator[Answer, None]:
        """Begin an operation of any kind: each event of a subscription is an answer, and ends are ends.

        Raises RequestRefused like ``run``, and where the subscription cannot begin; it has begun before there is an
        event. An error later on is the last answer.
        """
        if operation.kind is not OperationType.SUBSCRIPTION:
            return _only(await self.run(operation, request, caller))
        with measured(operation.kind) as ended:
            executor = self._build(operation, request, await self.context(caller))
            events = await _source(executor, caller.request_id)
            ended("answered")
        return self._answers(executor, events, caller)

    async def _answers(
        self, executor: Executor[Any], events: AsyncIterable[Any], caller: Caller
    ) -> AsyncGenerator[Answer, None]:
        async with aclosing(cast("AsyncGenerator[Any, None]", events)):
            try:
                with metrics.SUBSCRIPTIONS.track_inprogress():
                    async for event in events:
                        metrics.EVENTS.inc()
                        yield await self._execute_event(executor, event, caller)
            except RequestRefused as refusal:
                yield Answer(None, refusal.errors)
            except Exception as error:
                located = GraphQLError(str(error), original_error=error)
                yield Answer(None, [publish(located, caller.request_id)])

    def _build(self, operation: Operation, request: OperationRequest, context: Any) -> Executor[Any]:
        executor: Any = self._executor.build(
            self._schema,
            operation.document,
            context_value=context,
            raw_variable_values=request.variables,
            operation_name=operation.name,
            is_awaitable=optimized_is_awaitable,
        )
        if isinstance(executor, list):
            errors = cast("list[GraphQLError]", executor)
            raise refuse_operation(ErrorCode.BAD_USER_INPUT.value, [_without_cause(error) for error in errors])
        return executor

    async def _execute(self, executor: Executor[Any], request_id: str, *, serially: bool | None = None) -> Answer:
        result: Any = executor.execute_operation(serially)
        if isawaitable(result):
            result = await result
        errors = [publish(error, request_id) for error in result.errors or ()]
        return Answer(result.data, errors)

    async def _execute_event(self, executor: Any, event: Any, caller: Caller) -> Answer:
        execution = executor.build_per_event_executor(event)
        execution.context_value = await self.context(caller)
        return await self._execute(execution, caller.request_id, serially=False)


async def _only(answer: Answer) -> AsyncGenerator[Answer, None]:
    yield answer


async def _source(executor: Executor[Any], request_id: str) -> AsyncIterable[Any]:
    """The events of a subscription. Raises RequestRefused where its resolver refuses to begin."""
    source: Any = create_source_event_stream(executor)
    if isawaitable(source):
        source = await source
    if isinstance(source, ExecutionResult):
        errors = [publish(error, request_id) for error in source.errors or ()]
        raise RequestRefused(400, errors, malformed=False)
    return source


def _without_cause(error: GraphQLError) -> GraphQLError:
    """A variable's error without its cause, which may be any exception of a scalar's parser."""
    return GraphQLError(error.message, error.nodes, error.source, error.positions, error.path)


def require_no_subscription(operation: Operation) -> None:
    """Refuse (406) a subscription where only one answer can be given."""
    if operation.kind is OperationType.SUBSCRIPTION:
        message = (
            "A subscription answers many times: open a WebSocket with the subprotocol graphql-transport-ws, "
            "or ask for events with Accept: text/event-stream alone."
        )
        raise refuse(406, BAD_REQUEST, message)


def refusal_errors(refusal: RequestRefused, request_id: str) -> list[GraphQLError]:
    """The errors of a refusal, with the request's id."""
    return [with_request_id(error, request_id) for error in refusal.errors]
