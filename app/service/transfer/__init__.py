"""``tasks.transfer``: saved tasks with their schedules as text, for moving them between environments."""

from app.interchange import TextFormat
from app.service.transfer.exporting import Exported
from app.service.transfer.importing import Imported, Transfer
from app.service.transfer.planning import ImportItem, ImportPlan, ImportProblem, ImportStep, OnConflict

__all__ = [
    "Exported",
    "ImportItem",
    "ImportPlan",
    "ImportProblem",
    "ImportStep",
    "Imported",
    "OnConflict",
    "TextFormat",
    "Transfer",
]
