"""How much a query may ask for: its depth, its aliases and its cost, found in time linear to the document.

Each fragment is summarised once, however often it is spread, so that fragments nested in fragments cost nothing to
judge. What depends on the document alone is judged before validation (which such documents could slow down); the
cost, which depends on ``first`` and ``last``, is judged per request, once the variables are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from graphql import get_introspection_query, parse

from app.schema.survey import Page, PageSizes, Shape, Survey, TooComplex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphql import DocumentNode, GraphQLSchema

    from app.settings import Settings

MAX_ALIASES = 100
"""Aliases in one operation, counted wherever a fragment is spread: they are how a short query asks for much."""
MAX_REPEATS = 50
"""Fields written again beside themselves: they bring nothing, and validation compares each with each."""
INTROSPECTION_BUDGET = 3
"""How many times the work of the full introspection query one operation may ask of introspection."""
VALUES_OF_AN_ITEM = 70
"""What an item of a bulk mutation may bring: a trigger has 15 fields, one of them with 50 tags."""


@dataclass(frozen=True)
class Limits:
    """The limits of one server for one schema.

    ``max_tokens`` is the length of a document, ``max_depth`` counts fields within fields, ``max_cost`` counts fields
    times the sizes of the lists around them, a page of which has ``pages`` items. ``max_values`` is how much the
    variables bring.
    """

    schema: GraphQLSchema
    max_tokens: int
    max_depth: int
    max_cost: int
    max_values: int
    pages: PageSizes

    @classmethod
    def of(cls, schema: GraphQLSchema, settings: Settings) -> Limits:
        """The limits that the settings name, for that schema."""
        return cls(
            schema,
            max_tokens=settings.max_query_tokens,
            max_depth=settings.max_query_depth,
            max_cost=settings.max_query_cost,
            max_values=VALUES_OF_AN_ITEM * settings.max_bulk_items,
            pages=PageSizes(settings.default_page_size, settings.max_page_size),
        )

    def check_document(self, document: DocumentNode) -> dict[str | None, Shape]:
        """Judge what needs no variables, and return the shape of each operation by its name.

        Raises TooComplex. A document that is not valid (unknown fields, fragments in a circle) has some shape
        too: saying what is wrong with it is validation's part.
        """
        survey = Survey(self.schema, self.pages, document)
        shapes = survey.operations()
        for shape in (*shapes.values(), *survey.fragments()):
            self._check_shape(shape)
        if survey.repeats > MAX_REPEATS:
            raise TooComplex(
                f"The query repeats fields {survey.repeats} times within a selection; {MAX_REPEATS} times are allowed. "
                "Write each field once."
            )
        return shapes

    def check_cost(self, shape: Shape, variables: Mapping[str, Any]) -> None:
        """Judge what an operation costs with these variables and the defaults of others. Raises TooComplex."""
        cost = self.cost(shape, variables)
        if cost > self.max_cost:
            raise TooComplex(
                f"The query asks for up to {cost:,} fields; {self.max_cost:,} are allowed (TASKLOOM_MAX_QUERY_COST). "
                "A list counts its fields once per item: ask for smaller pages (first, last), "
                "for fewer fields, or for fewer lists within lists."
            )

    def cost(self, shape: Shape, variables: Mapping[str, Any]) -> int:
        """The number of fields the operation brings at most with these variables, raw or coerced."""
        known: dict[int, int] = {}

        def total(part: Shape) -> int:
            if id(part) not in known:
                below = sum(self._items(page, variables) * total(inner) for page, inner in part.open)
                known[id(part)] = part.fields + below
            return known[id(part)]

        return total(shape) if shape.open else shape.fields

    def _items(self, page: Page, variables: Mapping[str, Any]) -> int:
        return max([page.literal, *(self.pages.items(variables.get(name)) for name in page.variables)])

    def _check_shape(self, shape: Shape) -> None:
        if shape.depth > self.max_depth:
            raise TooComplex(
                f"The query is {shape.depth} fields deep; {self.max_depth} are allowed (TASKLOOM_MAX_QUERY_DEPTH). "
                "Ask for the inner objects in a query of their own, by id."
            )
        if shape.aliases > MAX_ALIASES:
            raise TooComplex(
                f"The query has {shape.aliases:,} aliases, those in fragments counted at every spread; "
                f"{MAX_ALIASES} are allowed. Split it, or use a mutation for many items, such as triggerTasks."
            )
        if shape.introspection > INTROSPECTION_BUDGET * self._full_introspection:
            raise TooComplex(
                "The query asks more of introspection than the full introspection query does. "
                "Ask for __schema once, or for single types with __type."
            )

    @cached_property
    def _full_introspection(self) -> int:
        query = parse(
            get_introspection_query(specified_by_url=True, schema_description=True, input_value_deprecation=True)
        )
        return max(shape.introspection for shape in Survey(self.schema, self.pages, query).operations().values())
