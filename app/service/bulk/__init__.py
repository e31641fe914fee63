"""``tasks.bulk``: actions on many runs or tasks at once, and on the whole system."""

from app.service.bulk.actions import BulkActions, BulkPreview
from app.service.bulk.selections import RunSelection

__all__ = ["BulkActions", "BulkPreview", "RunSelection"]
