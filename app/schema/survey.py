"""What a document asks for: a walk through it that visits every selection once and summarises every fragment once.

So the time is linear to the document, however often its fragments are spread within each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLObjectType,
    IntValueNode,
    OperationDefinitionNode,
    VariableNode,
    get_named_type,
)

from app.periods import MAX_BUCKETS

if TYPE_CHECKING:
    from graphql import (
        DocumentNode,
        GraphQLField,
        GraphQLNamedType,
        GraphQLSchema,
        InlineFragmentNode,
        SelectionSetNode,
    )

MAX_NESTING = 150
"""Selection sets and fragments within each other, at most: keeps the walk away from the interpreter's own limit."""

_PAGE_ARGUMENTS = ("first", "last")
_LONG_LISTS = {("Statistics", "buckets"): MAX_BUCKETS}
"""The lists that have no pages, as long as they may be."""
_INTROSPECTION_ROOTS = ("__schema", "__type")
# How many items the lists of introspection hold, roughly; "types" is counted in the schema.
_INTROSPECTION_LISTS = {
    "fields": 8,
    "inputFields": 6,
    "args": 3,
    "enumValues": 6,
    "possibleTypes": 4,
    "interfaces": 2,
    "directives": 6,
}


class TooComplex(Exception):
    """A query asks for more than the limits allow; the message is for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class PageSizes:
    """How many items a page has: ``default`` when nothing is asked, ``most`` at the most."""

    default: int
    most: int

    def items(self, asked: object) -> int:
        """How many items a page of the asked size counts.

        Sizes that the service will refuse count as the largest page, so that its refusal is the one that is seen.
        """
        return max(0, min(asked, self.most)) if isinstance(asked, int) else self.default


@dataclass(frozen=True, slots=True)
class Page:
    """How many items a selection brings: at least ``literal``, or what the ``variables`` say when that is more."""

    literal: int = 1
    variables: tuple[str, ...] = ()


@dataclass(eq=False, slots=True)
class Shape:
    """What one selection set asks for, with every fragment in it spread out.

    ``fields`` counts fields times the sizes of the lists around them, as far as the document alone says;
    ``open`` holds the selections whose number hangs on variables. ``introspection`` is the work below ``__schema``
    and ``__type``, which has a budget of its own.
    """

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    introspection: int = 0
    open: list[tuple[Page, Shape]] = field(default_factory=list["tuple[Page, Shape]"])

    def add(self, inner: Shape, page: Page, *, level: int) -> None:
        """Take in another selection that lies ``level`` fields deeper and comes once per item of the page."""
        self.depth = max(self.depth, inner.depth + level)
        self.aliases += inner.aliases
        self.introspection += inner.introspection
        if page.variables or inner.open:
            self.open.append((page, inner))
        else:
            self.fields += page.literal * inner.fields


class Survey:
    """One walk through one document.

    ``repeats`` counts the fields that stand a second time in the same selection set. Raises TooComplex where
    selections nest so deeply that the walk would come near the interpreter's own limit.
    """

    def __init__(self, schema: GraphQLSchema, pages: PageSizes, document: DocumentNode) -> None:
        self.repeats = 0
        self._schema = schema
        self._pages = pages
        self._operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._known: dict[str, Shape] = {}
        self._nesting = 0

    def operations(self) -> dict[str | None, Shape]:
        """The shape of each operation by its name."""
        return {
            node.name.value if node.name else None: self._selection(
                node.selection_set, self._schema.get_root_type(node.operation)
            )
            for node in self._operations
        }

    def fragments(self) -> list[Shape]:
        """The shape of each fragment, those included that no operation uses."""
        return [self._alone(self._fragment(name), node) for name, node in self._fragments.items()]

    def _alone(self, shape: Shape, node: FragmentDefinitionNode) -> Shape:
        if node.type_condition.name.value.startswith("__"):
            return Shape(aliases=shape.aliases, introspection=shape.fields)
        return shape

    def _fragment(self, name: str) -> Shape:
        if name not in self._known:
            self._known[name] = Shape()  # what a fragment that spreads itself finds; validation refuses it
            node = self._fragments.get(name)
            if node is not None:
                on = self._schema.get_type(node.type_condition.name.value)
                self._known[name] = self._selection(node.selection_set, on)
        return self._known[name]

    def _selection(self, selection_set: SelectionSetNode, on: GraphQLNamedType | None) -> Shape:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise TooComplex(f"The query nests more than {MAX_NESTING} selections within each other. Flatten it.")
        shape, seen = Shape(), set[tuple[type, str]]()
        for node in selection_set.selections:
            if isinstance(node, (FieldNode, FragmentSpreadNode)):
                self._add_named(shape, node, on, seen)
            else:
                self._add_inline(shape, cast("InlineFragmentNode", node), on)
        self._nesting -= 1
        return shape

    def _add_named(
        self,
        shape: Shape,
        node: FieldNode | FragmentSpreadNode,
        on: GraphQLNamedType | None,
        seen: set[tuple[type, str]],
    ) -> None:
        key = type(node), _response_name(node)
        if isinstance(node, FieldNode):
            self.repeats += key in seen
            self._add_field(shape, node, on)
        elif key not in seen:
            # Spread again beside itself, a fragment adds nothing to the answer.
            shape.add(self._fragment(node.name.value), Page(), level=0)
        seen.add(key)

    def _add_inline(self, shape: Shape, node: InlineFragmentNode, on: GraphQLNamedType | None) -> None:
        condition = node.type_condition
        inner = self._schema.get_type(condition.name.value) if condition else on
        shape.add(self._selection(node.selection_set, inner), Page(), level=0)

    def _add_field(self, shape: Shape, node: FieldNode, on: GraphQLNamedType | None) -> None:
        shape.fields += 1
        shape.aliases += node.alias is not None
        shape.depth = max(shape.depth, 1)
        if node.selection_set is None:
            return
        definition = self._definition(node, on)
        inner = self._selection(node.selection_set, _named_type(definition) if definition else None)
        if node.name.value in _INTROSPECTION_ROOTS:
            shape.introspection += inner.fields
            shape.aliases += inner.aliases
        else:
            shape.add(inner, self._page(node, definition, on), level=1)

    def _definition(self, node: FieldNode, on: GraphQLNamedType | None) -> GraphQLField | None:
        if isinstance(on, (GraphQLObjectType, GraphQLInterfaceType)):
            return self._schema.get_field(on, node.name.value)
        return None

    def _page(self, node: FieldNode, definition: GraphQLField | None, on: GraphQLNamedType | None) -> Page:
        """The size of the list that a field is: literal, from variables, or the default where it has pages."""
        if on is not None and on.name.startswith("__"):
            return Page(self._introspection_items(node.name.value))
        if on is not None and (long := _LONG_LISTS.get((on.name, node.name.value))):
            return Page(long)
        if definition is None or not any(name in definition.args for name in _PAGE_ARGUMENTS):
            return Page()
        asked = [argument.value for argument in node.arguments or () if argument.name.value in _PAGE_ARGUMENTS]
        variables = tuple(value.name.value for value in asked if isinstance(value, VariableNode))
        sizes = [self._pages.items(_number(value)) for value in asked if isinstance(value, IntValueNode)]
        smallest = 0 if variables else self._pages.default
        return Page(max(sizes, default=smallest), variables)

    def _introspection_items(self, name: str) -> int:
        return len(self._schema.type_map) if name == "types" else _INTROSPECTION_LISTS.get(name, 1)


def _named_type(definition: GraphQLField) -> GraphQLNamedType:
    return cast("GraphQLNamedType", get_named_type(cast("Any", definition).type))


def _response_name(node: FieldNode | FragmentSpreadNode) -> str:
    alias = node.alias if isinstance(node, FieldNode) else None
    return alias.value if alias else node.name.value


def page_defaults(operation: OperationDefinitionNode) -> dict[str, int]:
    """The variables of an operation that default to a number, as the size of a page may."""
    return {
        definition.variable.name.value: _number(definition.default_value)
        for definition in operation.variable_definitions or ()
        if isinstance(definition.default_value, IntValueNode)
    }


def _number(node: IntValueNode) -> int:
    """The number, of which nine digits are more than any page: the interpreter is slow to convert long ones."""
    return int(node.value[:9])
