"""``tasks.audit``: what people did to the configuration, and to many runs or tasks at once."""

from __future__ import annotations

from app.audit import BY_TIME, AuditEvents, AuditFilter
from app.db import Database
from app.models import AuditEvent
from app.paging import Page, PageArgs, make_page, window
from app.service.declared import as_declared
from app.settings import Settings

EVERYTHING = AuditFilter()
DEFAULT_PAGE = PageArgs()


@as_declared
class Audit:
    """Reads the audit. Events are written in the transaction of what they tell of, and never changed."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._settings = settings

    async def list(self, filter: AuditFilter = EVERYTHING, page: PageArgs = DEFAULT_PAGE) -> Page[AuditEvent]:
        """A page of events, the newest first.

        Args:
            filter: by principals, actions, subject and time; everything given must hold.
            page: which page.

        Raises:
            InvalidArgument: a page too large, a broken cursor, a time without a timezone.

        Example:
            stops = await tasks.audit.list(AuditFilter(actions=["stopAllTasks"]))
        """
        view = window(page, BY_TIME, self._settings)
        async with self._db.read() as session:
            rows = await AuditEvents(session).read(filter, view)
        return make_page(rows, view, BY_TIME, lambda row: (row.id,))

    async def count(self, filter: AuditFilter = EVERYTHING) -> int:
        """How many events fit; counting stops at TASKLOOM_COUNT_LIMIT + 1.

        Example:
            number = await tasks.audit.count()
        """
        async with self._db.read() as session:
            return await AuditEvents(session).count(filter, self._settings.count_limit)
