"""The one schema of the process."""

from __future__ import annotations

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import create_type

from app.schema.mutations.abort_task import abort_task
from app.schema.mutations.rerun_task import rerun_task
from app.schema.mutations.trigger_task import trigger_task
from app.schema.mutations.trigger_tasks import trigger_tasks
from app.schema.queries import Query
from app.schema.refusals import HANDLERS
from app.schema.scalars import SCALARS
from app.schema.subscriptions import Subscription

Mutation = create_type(
    "Mutation",
    [trigger_task, trigger_tasks, abort_task, rerun_task],
    description="What can be changed. A refusal is a member of each result, not an error.",
)

schema = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    config=StrawberryConfig(scalar_map=SCALARS),
    exception_handlers=HANDLERS,
)
"""The schema that the server serves and ``schema.graphql`` shows."""
