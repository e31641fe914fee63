"""The areas of ``TaskService``: each has methods of its own, and is loaded by those who use it.

A worker uses few of them, and an idle one should be small.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.auth import Principal
    from app.db import Database
    from app.events import Events
    from app.service.auditing import Audit
    from app.service.batches import Batches
    from app.service.bulk import BulkActions
    from app.service.failing import Errors
    from app.service.known import KnownDefinitions
    from app.service.preparing import Preparing
    from app.service.rerunning import Rerunning
    from app.service.retaining import Retaining
    from app.service.saved import SavedTasks
    from app.service.scheduling import Scheduling
    from app.service.searches import SavedSearches
    from app.service.service import TaskService
    from app.service.statistics_reading import Statistics
    from app.service.telling import Timelines
    from app.service.transfer import Transfer
    from app.service.triggering import Triggering
    from app.settings import Settings


class Areas:
    """What people keep and do around runs; the part of ``TaskService`` that is loaded late."""

    _db: Database
    _events: Events
    _settings: Settings
    _known: KnownDefinitions
    _principal: Principal
    _preparing: Preparing
    _triggering: Triggering
    _rerunning: Rerunning

    @cached_property
    def saved(self) -> SavedTasks:
        """Saved tasks."""
        from app.service.saved import SavedTasks

        return SavedTasks(self._db, self._settings, self._known, self._triggering, self._principal)

    @cached_property
    def transfer(self) -> Transfer:
        """Saved tasks on their way to and from other places."""
        from app.service.transfer import Transfer

        return Transfer(self._db, self._settings, self._known, self.saved, self._principal)

    @cached_property
    def searches(self) -> SavedSearches:
        """Filters that people keep under a name."""
        from app.service.searches import SavedSearches

        return SavedSearches(self._db, self._principal)

    @cached_property
    def schedules(self) -> Scheduling:
        """Schedules of saved tasks."""
        from app.service.scheduling import Scheduling

        return Scheduling(self._db, self._settings, self._known, self.saved, self._triggering, self._principal)

    @cached_property
    def bulk(self: TaskService) -> BulkActions:  # type: ignore[misc]
        """Actions on many runs and tasks."""
        from app.service.bulk import BulkActions
        from app.service.bulk.run_work import on_runs
        from app.service.bulk.starting import Starting
        from app.service.bulk.stepping import Stepper
        from app.service.bulk.task_work import on_tasks

        on_saved = on_tasks(self.saved, self._known, self._triggering)
        works = {**on_runs(self._events, self, self._rerunning), **on_saved}
        starting, stepper = Starting(self._db, self._preparing, self._principal), Stepper(self._db, self._events, works)
        return BulkActions(self._db, self._events, self._settings, starting, stepper, works, self.saved)

    @cached_property
    def batches(self: TaskService) -> Batches:  # type: ignore[misc]
        """Runs that were triggered together."""
        from app.service.batches import Batches
        from app.service.calling import calling_within
        from app.service.preparing import Preparing

        # What follows a batch is checked while nobody waits for the answer, so that nobody would give up.
        bounded = calling_within(self._settings.hook_seconds)
        preparing = Preparing(self._db, self._settings, self._known, bounded)
        return Batches(self._db, self, preparing, self._triggering, self.bulk, self._principal)

    @cached_property
    def retention(self) -> Retaining:
        """For how long finished runs are kept."""
        from app.service.retaining import Retaining

        return Retaining(self._db, self._settings, self._known, self._principal)

    @cached_property
    def errors(self) -> Errors:
        """Failures by what they have in common."""
        from app.service.failing import Errors

        return Errors(self._db, self._settings)

    @cached_property
    def statistics(self) -> Statistics:
        """What became of the runs that have finished."""
        from app.service.statistics_reading import Statistics

        return Statistics(self._db, self._known, self.saved)

    @cached_property
    def timelines(self) -> Timelines:
        """What happened to runs."""
        from app.service.telling import Timelines

        return Timelines(self._db)

    @cached_property
    def audit(self) -> Audit:
        """Who changed what."""
        from app.service.auditing import Audit

        return Audit(self._db, self._settings)
