"""The one schema of the process."""

from __future__ import annotations

from functools import lru_cache

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.name_converter import NameConverter
from strawberry.tools import create_type
from strawberry.utils.str_converters import to_camel_case

from app.schema.mutations.abort_task import abort_task
from app.schema.mutations.bulk_runs import BULK_MUTATIONS
from app.schema.mutations.bulk_tasks import TASK_BULK_MUTATIONS
from app.schema.mutations.execute_task import execute_task
from app.schema.mutations.rerun_task import rerun_task
from app.schema.mutations.retention import MUTATIONS as RETENTION
from app.schema.mutations.saved_tasks import MUTATIONS as SAVED_TASKS
from app.schema.mutations.schedules import SCHEDULING
from app.schema.mutations.trigger_task import TriggerTaskInput, trigger_task
from app.schema.mutations.trigger_tasks import trigger_tasks
from app.schema.nulls import refuse_nulls
from app.schema.plain_fields import Execution
from app.schema.plain_inputs import build_at_once
from app.schema.queries import Query
from app.schema.refusals import HANDLERS
from app.schema.saved_searches import MUTATIONS as SAVED_SEARCHES
from app.schema.scalars import SCALARS
from app.schema.subscriptions import Subscription
from app.schema.transfer import import_tasks


class Names(NameConverter):
    """Strawberry's names; each is worked out once, not for every field of every request."""

    def apply_naming_config(self, name: str) -> str:
        """A Python name as GraphQL spells it."""
        return _camel_case(name)


_camel_case = lru_cache(maxsize=10_000)(to_camel_case)

Mutation = create_type(
    "Mutation",
    [
        trigger_task,
        trigger_tasks,
        abort_task,
        rerun_task,
        *BULK_MUTATIONS,
        *TASK_BULK_MUTATIONS,
        *RETENTION,
        *SAVED_TASKS,
        *SCHEDULING,
        *SAVED_SEARCHES,
        execute_task,
        import_tasks,
    ],
    description="What can be changed. A refusal is a member of each result, not an error.",
)

schema = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    execution_context_class=Execution,
    config=StrawberryConfig(scalar_map=SCALARS, name_converter=Names()),
    exception_handlers=HANDLERS,
)
"""The schema that the server serves and ``schema.graphql`` shows."""

build_at_once(schema, TriggerTaskInput)
refuse_nulls(schema)
