"""Parsed and validated documents, kept by their text: most clients send the same few over and over."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse, specified_rules, validate
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from app.schema.faults import PARSE_FAILED, QUERY_TOO_COMPLEX, VALIDATION_FAILED, refuse_operation
from app.schema.survey import TooComplex, page_defaults
from app.schema.values import containers_of

if TYPE_CHECKING:
    from graphql import DocumentNode, GraphQLSchema

    from app.schema.limits import Limits
    from app.schema.survey import Shape
    from app.schema.values import InputTypes

MAX_CHARACTERS = 100_000
"""Length of a document: large values belong into variables, which are read a hundred times faster."""
MAX_KEPT = 500
"""Documents that are kept."""
MAX_KEPT_CHARACTERS = 500_000
"""Length of all kept documents together; the parsed form takes a hundredfold of it in memory."""

_RULES = (*specified_rules, OneOfInputValidationRule)
_MAX_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a valid document: its name, its kind, what it asks for, and how large pages are by default.

    ``containers`` are the types of its variables that may bring many values.
    """

    document: DocumentNode
    name: str | None
    kind: OperationType
    shape: Shape
    page_defaults: dict[str, int]
    containers: InputTypes


@dataclass(frozen=True, slots=True)
class Document:
    """A valid document within the limits, and its operations by name."""

    operations: dict[str | None, Operation]

    def operation(self, name: str | None) -> Operation:
        """The operation to run: the one of that name, or the only one. Raises RequestRefused when there is none."""
        if name is None and len(self.operations) == 1:
            return next(iter(self.operations.values()))
        if name in self.operations and name is not None:
            return self.operations[name]
        names = ", ".join(str(known) for known in self.operations)
        message = f"The document has no operation '{name}'; it has {names}." if name else _which(names)
        raise refuse_operation("BAD_USER_INPUT", [GraphQLError(message)])


def _which(names: str) -> str:
    if not names:
        return "The document has no operation to run, only definitions."
    return f"The document has several operations: say with operationName which one of {names} to run."


class Documents:
    """The documents of one schema: parsed, judged by the limits and validated, once per text.

    Bounded in number and in length, the least recently used go first. What is refused is not kept.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._characters = 0

    def get(self, text: str) -> Document:
        """The document of that text.

        Raises RequestRefused with the code GRAPHQL_PARSE_FAILED, GRAPHQL_VALIDATION_FAILED or QUERY_TOO_COMPLEX.
        """
        document = self._kept.get(text)
        if document is None:
            document = self._check(text)
            self._keep(text, document)
        else:
            self._kept.move_to_end(text)
        return document

    def _check(self, text: str) -> Document:
        try:
            parsed = self._parse(text)
            shapes = self._limits.check_document(parsed)
        except TooComplex as error:
            raise refuse_operation(QUERY_TOO_COMPLEX, [GraphQLError(str(error))]) from error
        if errors := validate(self._limits.schema, parsed, _RULES, max_errors=_MAX_ERRORS):
            raise refuse_operation(VALIDATION_FAILED, errors)
        return Document(_operations(parsed, shapes, self._limits.schema))

    def _parse(self, text: str) -> DocumentNode:
        limit = self._limits.max_tokens
        if len(text) > MAX_CHARACTERS:
            raise TooComplex(
                f"The document is {len(text):,} characters long; {MAX_CHARACTERS:,} are allowed. "
                "Send large values as variables."
            )
        try:
            return parse(text, max_lexical_tokens=limit, max_comments=limit)
        except GraphQLError as error:
            if "Parsing aborted" not in error.message:
                raise refuse_operation(PARSE_FAILED, [error]) from error
            what = error.message.removeprefix("Syntax Error: ").removesuffix(" Parsing aborted.")
            raise TooComplex(
                f"{what} Split it into several requests, and send values as variables "
                f"({limit} tokens are allowed, TASKLOOM_MAX_QUERY_TOKENS)."
            ) from error

    def _keep(self, text: str, document: Document) -> None:
        self._kept[text] = document
        self._characters += len(text)
        while len(self._kept) > MAX_KEPT or self._characters > MAX_KEPT_CHARACTERS:
            oldest, _ = self._kept.popitem(last=False)
            self._characters -= len(oldest)


def _operations(
    document: DocumentNode, shapes: dict[str | None, Shape], schema: GraphQLSchema
) -> dict[str | None, Operation]:
    nodes = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    names = [node.name.value if node.name else None for node in nodes]
    return {
        name: Operation(document, name, node.operation, shapes[name], page_defaults(node), containers_of(schema, node))
        for name, node in zip(names, nodes, strict=True)
    }
