"""Saved searches: the type, its queries and mutations. A filter is checked against the input type that it is for."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, cast

import strawberry
from graphql import GraphQLError
from graphql.utilities import validate_input_value  # pyright: ignore[reportUnknownVariableType]
from strawberry.scalars import JSON

from app.errors import InvalidArgument as Refusal
from app.schema.connections import given
from app.schema.context import Info
from app.schema.faults import in_words_of_graphql
from app.schema.principals import Principal, principal_of
from app.schema.refusals import InvalidArgument
from app.schema.task_refusals import SavedSearchNameTaken, SavedSearchNotFound
from app.schema.task_words import SavedSearchKind
from app.service import UNSET as NOT_GIVEN
from app.service.searches import require_storable

MAX_COMPLAINT = 500
"""Length of what is said of a filter, because it is quoted."""
_INPUTS = {SavedSearchKind.TASKS: "TaskFilter", SavedSearchKind.RUNS: "TaskRunFilter"}


@strawberry.type(description="A filter that somebody keeps under a name.")
class SavedSearch:
    """A saved search."""

    id: strawberry.ID = strawberry.field(description="The id of the search: a UUID.")
    name: str = strawberry.field(description="What it is called; unique among its owner's searches of a kind.")
    kind: SavedSearchKind = strawberry.field(description="What it looks for.")
    filter: JSON = strawberry.field(description="The filter, to be passed as a variable to `tasks` or `taskRuns`.")
    shared: bool = strawberry.field(description="Whether others see it.")
    owner: Principal = strawberry.field(description="Whose it is, and who may change it.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")

    @classmethod
    def of(cls, row: Any) -> SavedSearch:
        """The search from its row."""
        return cls(
            id=strawberry.ID(str(row.id)),
            name=row.name,
            kind=row.kind,
            filter=row.filter,
            shared=row.is_shared,
            owner=principal_of(row.owner),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


@strawberry.input(description="A new saved search.")
class CreateSavedSearchInput:
    """The fields of a new search."""

    name: str = strawberry.field(description="What it is called, 1 to 200 characters.")
    kind: SavedSearchKind = strawberry.field(description="What it looks for.")
    filter: JSON = strawberry.field(description="A `TaskFilter` or a `TaskRunFilter`, as its kind says.")
    shared: bool = strawberry.field(default=False, description="Whether others see it.")


@strawberry.input(description="What is to change of a saved search of yours; what is left out stays.")
class UpdateSavedSearchInput:
    """The changes of a search."""

    id: strawberry.ID = strawberry.field(description="The id of the search.")
    name: strawberry.Maybe[str] = strawberry.field(description="Another name.")
    filter: strawberry.Maybe[JSON] = strawberry.field(description="Another filter of the same kind.")
    shared: strawberry.Maybe[bool] = strawberry.field(description="Whether others see it.")


@strawberry.input(description="Which saved search of yours to delete.")
class DeleteSavedSearchInput:
    """The arguments of a deletion."""

    id: strawberry.ID = strawberry.field(description="The id of the search.")


@strawberry.type(description="The search is stored.")
class SaveSearchSuccess:
    """A search as it stands now."""

    search: SavedSearch = strawberry.field(description="The search.")


@strawberry.type(description="The search is deleted.")
class DeleteSavedSearchSuccess:
    """A search that is gone."""

    id: strawberry.ID = strawberry.field(description="The id of the search that was deleted.")


CreateSavedSearchResult = Annotated[
    SaveSearchSuccess | SavedSearchNameTaken | InvalidArgument,
    strawberry.union("CreateSavedSearchResult", description="The new search, or why there is none."),
]
UpdateSavedSearchResult = Annotated[
    SaveSearchSuccess | SavedSearchNotFound | SavedSearchNameTaken | InvalidArgument,
    strawberry.union("UpdateSavedSearchResult", description="The search as it is now, or why it was not changed."),
]
DeleteSavedSearchResult = Annotated[
    DeleteSavedSearchSuccess | SavedSearchNotFound,
    strawberry.union("DeleteSavedSearchResult", description="What was deleted, or why nothing was."),
]


@strawberry.type
class SavedSearchQueries:
    """What can be read of saved searches."""

    @strawberry.field(description="Your saved searches and those that others share, by name.")
    async def saved_searches(
        self,
        info: Info,
        kind: Annotated[
            SavedSearchKind | None, strawberry.argument(description="Only those that look for this.")
        ] = strawberry.UNSET,
    ) -> list[SavedSearch]:
        """All that whoever asks may use."""
        rows = await info.context.service.searches.list(given(kind), principal=info.context.principal)
        return [SavedSearch.of(row) for row in rows]


@strawberry.mutation(description="Keep a filter under a name, for yourself or for all.")
async def create_saved_search(
    info: Info, input: Annotated[CreateSavedSearchInput, strawberry.argument(description="What it is.")]
) -> CreateSavedSearchResult:
    """Check the filter, and hand it to the service."""
    context, filter = info.context, checked(info, input.kind, input.filter)
    search = await context.service.searches.create(
        input.name, input.kind, filter, is_shared=input.shared, principal=context.principal
    )
    return SaveSearchSuccess(search=SavedSearch.of(search))


@strawberry.mutation(description="Change a saved search of yours.")
async def update_saved_search(
    info: Info, input: Annotated[UpdateSavedSearchInput, strawberry.argument(description="Which, and what changes.")]
) -> UpdateSavedSearchResult:
    """Check the filter, and hand what was given to the service."""
    searches, principal = info.context.service.searches, info.context.principal
    filter: Any = NOT_GIVEN
    if input.filter:
        kind = (await searches.get(input.id, principal=principal)).kind
        filter = checked(info, kind, input.filter.value)
    name = input.name.value if input.name else NOT_GIVEN
    shared = input.shared.value if input.shared else NOT_GIVEN
    search = await searches.update(input.id, name=name, filter=filter, is_shared=shared, principal=principal)
    return SaveSearchSuccess(search=SavedSearch.of(search))


@strawberry.mutation(description="Delete a saved search of yours.")
async def delete_saved_search(
    info: Info, input: Annotated[DeleteSavedSearchInput, strawberry.argument(description="Which.")]
) -> DeleteSavedSearchResult:
    """Hand the wish to the service."""
    id = await info.context.service.searches.delete(input.id, principal=info.context.principal)
    return DeleteSavedSearchSuccess(id=strawberry.ID(str(id)))


def checked(info: Info, kind: SavedSearchKind, filter: Any) -> dict[str, Any]:
    """A filter that the list it is for would take. Raises ``InvalidArgument`` that says what it would not."""
    expected: Any = info.schema._schema.type_map[_INPUTS[kind]]  # pyright: ignore[reportPrivateUsage]
    found: list[str] = []

    def note(error: GraphQLError, path: list[str | int]) -> None:
        found.append(f"{'.'.join(map(str, path)) or 'as a whole'}: {in_words_of_graphql(error.message)}")

    if isinstance(filter, dict):
        # A large one would be looked through for long.
        require_storable(filter)
    validate_input_value(filter, expected, note)
    if found or not isinstance(filter, dict):
        what = found[0][:MAX_COMPLAINT] if found else "it is no object."
        raise Refusal(f"'filter' is no {_INPUTS[kind]}: {what}", path=("input", "filter"))
    return cast("dict[str, Any]", filter)


MUTATIONS = [create_saved_search, update_saved_search, delete_saved_search]
