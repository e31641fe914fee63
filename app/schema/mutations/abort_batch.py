"""``abortBatch``: abort the runs of a batch."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.schema.bulk import BulkAction, BulkActionSuccess
from app.schema.context import Info
from app.schema.refusals import BatchNotAbortable, BatchNotFound


@strawberry.input(description="Which batch to abort.")
class AbortBatchInput:
    """The arguments of the abort of a batch."""

    id: strawberry.ID = strawberry.field(description="The id of the batch.")


AbortBatchResult = Annotated[
    BulkActionSuccess | BatchNotFound | BatchNotAbortable,
    strawberry.union("AbortBatchResult", description="The bulk action that aborts the runs, or why there is none."),
]


@strawberry.mutation(description="Abort the runs of a batch that are not final; what would follow the batch does not.")
async def abort_batch(
    info: Info, input: Annotated[AbortBatchInput, strawberry.argument(description="Which batch.")]
) -> AbortBatchResult:
    """Hand the wish to the service."""
    action = await info.context.service.batches.abort(input.id, principal=info.context.principal)
    return BulkActionSuccess(bulk_action=BulkAction.of(action))
