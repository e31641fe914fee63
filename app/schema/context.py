"""What every resolver can reach: the service, who is asking, and the loaders of this one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import strawberry

from app.auth import Principal
from app.service import TaskService

if TYPE_CHECKING:
    from app.schema.loaders import Loaders


@dataclass(frozen=True, slots=True)
class Context:
    """The context of one operation, or of one event of a subscription.

    It holds a service that opens sessions and never a session, because resolvers run side by side.
    """

    service: TaskService
    principal: Principal
    loaders: Loaders


Info: TypeAlias = strawberry.Info[Context, None]
