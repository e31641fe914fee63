"""Who acts, and who is asking."""

from __future__ import annotations

from functools import lru_cache

import strawberry

from app import auth
from app.schema.vocabulary import PrincipalKind


@strawberry.type(description="Somebody who can act: a person, a program, Taskloom itself, or a run.")
class Principal:
    """A principal as clients see it."""

    id: strawberry.ID = strawberry.field(description="The id, unique among principals of its kind.")
    kind: PrincipalKind = strawberry.field(description="What sort of principal this is.")
    name: str = strawberry.field(description="What people call this principal.")


@lru_cache(maxsize=1024)
def principal_of(text: str) -> Principal:
    """The principal that a row names as ``KIND:id``."""
    found = auth.Principal.parse(text)
    return Principal(id=strawberry.ID(found.id), kind=found.kind, name=found.name)


@strawberry.type(description="Whoever is asking, and the server that answers.")
class Viewer:
    """The principal of this request, and what the server is."""

    principal: Principal = strawberry.field(description="Who is asking; runs triggered now are created by this one.")
    is_anonymous: bool = strawberry.field(
        description="Whether the server lets everybody in without asking who they are, as it does on loopback."
    )
    version: str = strawberry.field(description="The version of the server, as in `1.4.0`.")
