"""``tasks.errors``: failures by what they have in common."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from app.db import Database
from app.error_groups import AffectedTask, CountedGroup, ErrorGroupFilter, ErrorGroupOrder, ErrorGroups
from app.errors import ErrorGroupNotFound
from app.paging import Page, PageArgs, make_page, window
from app.service.declared import as_declared
from app.settings import Settings

EVERYTHING = ErrorGroupFilter()
LAST_SEEN_FIRST = ErrorGroupOrder()
DEFAULT_PAGE = PageArgs()


@as_declared
class Errors:
    """Reads groups of errors. Runs that are FAILED or LOST are in one, a second or two after their end."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._settings = settings

    async def groups(
        self,
        filter: ErrorGroupFilter = EVERYTHING,
        order: ErrorGroupOrder = LAST_SEEN_FIRST,
        page: PageArgs = DEFAULT_PAGE,
    ) -> Page[CountedGroup]:
        """A page of groups, those seen last first by default.

        Args:
            filter: which groups; by task, group, owner or time, only the failures that fit are counted.
            order: by when they were seen, or by how often.
            page: which page. Cursors by time or number move with the groups: a group that fails again between two
                pages may be on both, or on none.

        Raises:
            InvalidArgument: a page too large, a broken cursor, a time without a timezone, an empty range.

        Example:
            today = await tasks.errors.groups(ErrorGroupFilter(since=midnight))
        """
        view = window(page, order.keyset, self._settings)
        async with self._db.read() as session:
            rows = await ErrorGroups(session).read(filter, order, view)
        return make_page(rows, view, order.keyset, order.key)

    async def count(self, filter: ErrorGroupFilter = EVERYTHING) -> int:
        """How many groups fit; counting stops at TASKLOOM_COUNT_LIMIT + 1.

        Example:
            number = await tasks.errors.count(ErrorGroupFilter(definition_ids=["checksum-tree"]))
        """
        async with self._db.read() as session:
            return await ErrorGroups(session).count(filter, self._settings.count_limit)

    async def group(self, id: str) -> CountedGroup:
        """A group with all of its failures. Raises ``ErrorGroupNotFound``.

        Example:
            group = await tasks.errors.group(run.error_group)
        """
        found = (await self.find([id])).get(id)
        if found is None:
            raise ErrorGroupNotFound(id)
        return found

    async def find(self, ids: Collection[str]) -> Mapping[str, CountedGroup]:
        """Those of the groups that exist, by id.

        Example:
            groups = await tasks.errors.find({run.error_group for run in failed if run.error_group})
        """
        async with self._db.read() as session:
            return await ErrorGroups(session).get_many(ids)

    async def tasks_of(self, ids: Collection[str]) -> Mapping[str, list[AffectedTask]]:
        """Which saved tasks the failures of each group concern, within the last 90 days: up to 20, most failures first.

        Example:
            [worst, *_] = (await tasks.errors.tasks_of([group.id]))[group.id]
        """
        async with self._db.read() as session:
            return await ErrorGroups(session).tasks_of(ids)
