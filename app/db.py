"""The database: one engine for sessions, asyncpg connections for the batched writes, and the only ``commit``.

Use cases open ``read()`` or ``write()``; the two are different types, so that a function that takes a ``WriteSession``
cannot be handed a reading one. The engine's hot statements use ``pipe()``, a plain asyncpg connection in a transaction
of its own: arrays in, rows out, without an ORM between.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Protocol, cast
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import asyncpg.exceptions
import orjson
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from app import clock
from app.at_hand import CLOSE_SECONDS, AtHand
from app.database_clock import DatabaseClock
from app.errors import InvalidArgument, QueryTooSlow, ServiceClosed, ServiceUnavailable
from app.lost_connections import replace_lost_connections

Row = Mapping[str, Any]


class Pipe(Protocol):
    """What Taskloom uses of an asyncpg connection."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str: ...
    async def fetch(self, query: str, *args: Any) -> list[Row]: ...
    async def fetchrow(self, query: str, *args: Any) -> Row | None: ...
    async def fetchval(self, query: str, *args: Any) -> Any: ...
    async def copy_records_to_table(
        self, table_name: str, *, records: Iterable[Sequence[Any]], columns: Sequence[str]
    ) -> str: ...


BY_KEYS_SIZE = 4
"""Connections for what every run needs: two claims and two flushes of a worker, or the insert of a server."""
TIME_SECONDS = 2.0
"""How long it is waited for the database's time."""
QUERY_CANCELED = "57014"
ANSWER_SECONDS = 60.0
"""How long a pipe waits for the answer to a statement, unless its user is in more of a hurry."""
CALLER_SECONDS = 25.0
"""The same where a caller waits for what comes of it: with the time that giving up takes, 30 s."""
IDLE_SECONDS = 15.0
"""How long a transaction may stand still: a process that is frozen inside one must not keep its row locks for ever,
because the reaper passes over locked rows."""
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 5.0
"""How much longer than PostgreSQL may take is waited for its answer: one that is frozen never gives any."""
# A plan kept from when a table was nearly empty takes quadratic time once it has grown; planning costs less than 1 ms.
_PLANNED_EACH_TIME = {"plan_cache_mode": "force_custom_plan"}
# Where only one plan is left, whatever is in the tables, it is made once (decision 0027).
_PLANNED_ONCE = {
    "plan_cache_mode": "force_generic_plan",
    **dict.fromkeys(("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin"), "off"),
}
IN_TROUBLE = (
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.PostgresSystemError,
    asyncpg.exceptions.ReadOnlySQLTransactionError,
    asyncpg.exceptions.InsufficientPrivilegeError,
)
"""Errors of a server that answers, but gives no room or right to write just now: nothing came of the statement."""
TURNED_AWAY = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
"""PostgreSQL is there and refuses the connection: no such user or database, or a wrong password."""
ANSWERS = (*IN_TROUBLE, asyncpg.exceptions.CannotConnectNowError)
"""Errors that are the answer of a server which cannot do what it was asked just now, because it is starting, say."""
DISCONNECTED = (
    *TURNED_AWAY,
    OSError,
    asyncpg.exceptions.InterfaceError,
    asyncpg.exceptions.InternalClientError,
    asyncpg.exceptions.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.CannotConnectNowError,
    asyncpg.exceptions.IdleInTransactionSessionTimeoutError,
    *IN_TROUBLE,
    InterfaceError,
    OperationalError,
    PoolTimeout,
)
"""Errors that say nothing about the statement itself: no connection and outcome unknown, or a server in trouble."""

NOT_MIGRATED = "The database has not the tables of this version: run `taskloom migrate`. Waiting for it."


class OldTables(Exception):
    """The database has the tables of an older version than this one, or none."""


class ReadSession(AsyncSession):
    """A session that only reads."""


class WriteSession(AsyncSession):
    """A session whose changes are committed when its block ends without an error."""


def is_disconnect(error: BaseException) -> bool:
    """Whether an error means that the database is away or in trouble, so that the call has to be made again: what came
    of it is unknown, or nothing.
    """
    if isinstance(error, DISCONNECTED):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # SQLAlchemy wraps what the driver raised twice; some ways to lose a connection only show in the innermost one.
    return error.connection_invalidated or isinstance(getattr(error.orig, "__cause__", None), DISCONNECTED)


def is_unmigrated(error: BaseException) -> bool:
    """Whether an error means that the database lacks tables or columns of this version."""
    return isinstance(driver_error(error), (OldTables, asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError))


def refusal(error: BaseException) -> str | None:
    """Why PostgreSQL refuses the connection, in its own words, which never hold the password; None for other errors."""
    cause = driver_error(error)
    return str(cause) if isinstance(cause, TURNED_AWAY) else None


def is_missing_database(error: BaseException) -> bool:
    """Whether PostgreSQL is there, and a database of that name is not."""
    return isinstance(driver_error(error), asyncpg.InvalidCatalogNameError)


def complaint(error: BaseException) -> str | None:
    """What PostgreSQL says is the matter when it answers and cannot do what it was asked; None for other errors."""
    cause = driver_error(error)
    if isinstance(cause, asyncpg.exceptions.TargetServerAttributeNotMatched):
        return "it is a standby, or read-only by a setting (default_transaction_read_only), and has to take writes"
    return str(cause).splitlines()[0] if isinstance(cause, ANSWERS) else None


def forbidden(error: BaseException) -> str | None:
    """What PostgreSQL does not let this role do, in its own words; None for other errors."""
    cause = driver_error(error)
    return str(cause).splitlines()[0] if isinstance(cause, asyncpg.InsufficientPrivilegeError) else None


def driver_error(error: BaseException) -> BaseException:
    """What asyncpg raised, without what SQLAlchemy and ``ServiceUnavailable`` wrap it in, however often."""
    while isinstance(error, ServiceUnavailable) and error.__cause__ is not None:
        error = error.__cause__
    if not isinstance(error, DBAPIError) or error.orig is None:
        return error
    return error.orig.__cause__ or error.orig


def json_text(value: Any) -> str:
    """A value as JSON text for a jsonb column. Raises ``TypeError`` when it is not JSON."""
    return orjson.dumps(value).decode()


def rows_of(tag: str) -> int:
    """How many rows a statement was about, by PostgreSQL's answer to it, as in ``DELETE 12``."""
    return int(tag.rpartition(" ")[2])


class Database:
    """The connections of one process to PostgreSQL.

    ``url`` is a ``postgresql://`` URL; ``pool_size`` bounds each of the two pools, ``query_seconds`` each statement of
    a session, ``idle_seconds`` the time that any transaction stands still. ``answer_seconds`` bound the wait for a
    connection of a pipe to open and for the answer to each of its statements: one that has gone silent is given up.
    Whatever is asked after ``close`` is refused with ``ServiceClosed``.

    Pipes asked for with ``by_keys=True`` are a few more. They are for the batches that every run needs, which find rows
    by primary keys and nothing else: these connections make a plan once instead of each time.

    ``clock`` tells the database's time.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        query_seconds: float = 30.0,
        idle_seconds: float = IDLE_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._url = url
        self._answer_limits = {"timeout": min(answer_seconds, CONNECT_SECONDS), "command_timeout": answer_seconds}
        self._pool_size = pool_size
        self._pool: Any = None
        self._is_closed = False
        self._always = {
            # Guarded updates, and counts under a lock, rest on each statement seeing what was committed before it.
            "default_transaction_isolation": "read committed",
            "idle_in_transaction_session_timeout": str(int(idle_seconds * 1000)),
        }
        self._at_hand = AtHand(BY_KEYS_SIZE, **self._driver_settings(_PLANNED_ONCE))
        self.clock = DatabaseClock(self._time)
        self._engine = engine_of(
            url,
            {
                # PostgreSQL ends a statement that takes too long by itself, unless it does not answer at all.
                "command_timeout": query_seconds + SILENCE_SECONDS,
                "server_settings": {**_session_settings(query_seconds), **self._always},
            },
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            isolation_level="AUTOCOMMIT",
            json_serializer=json_text,
            json_deserializer=orjson.loads,
        )
        replace_lost_connections(self._engine)
        self._in_transactions = self._engine.execution_options(isolation_level="READ COMMITTED")

    @asynccontextmanager
    async def read(self, *, together: bool = False) -> AsyncGenerator[ReadSession, None]:
        """A session for reading. Raises ``ServiceUnavailable`` when the database is away, and ``QueryTooSlow`` past the
        limit of ``query_seconds``.

        Each statement is a transaction of its own, which spares two round trips; each would see what was committed
        before it in a common one too. With ``together`` they are one, for settings that are to end with it.
        """
        self._require_open()
        engine = self._in_transactions if together else self._engine
        with _trouble_named():
            async with ReadSession(engine, expire_on_commit=False) as session:
                yield session

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[WriteSession, None]:
        """A session for writing, committed at the end of the block. Raises ``ServiceUnavailable``."""
        self._require_open()
        with _trouble_named():
            async with WriteSession(self._in_transactions, expire_on_commit=False) as session:
                yield session
                await session.commit()

    @asynccontextmanager
    async def pipe(self, *, by_keys: bool = False) -> AsyncGenerator[Pipe, None]:
        """An asyncpg connection in a transaction of its own, for batched statements. Driver errors come as they are."""
        async with self._connection(by_keys) as connection, _transaction(connection):
            yield cast(Pipe, connection)

    def autocommit(self, *, by_keys: bool = False) -> AbstractAsyncContextManager[Pipe]:
        """An asyncpg connection whose single statements are each their own transaction, without BEGIN and COMMIT."""
        return self._connection(by_keys)

    def _connection(self, by_keys: bool) -> AbstractAsyncContextManager[Any]:
        self._require_open()
        return self._at_hand.connection() if by_keys else self._pooled()

    def _require_open(self) -> None:
        """Raise ``ServiceClosed`` after the end, where new connections would be opened that nobody closes."""
        if self._is_closed:
            raise ServiceClosed

    async def _time(self) -> tuple[datetime, datetime]:
        with _trouble_named():
            async with asyncio.timeout(TIME_SECONDS), self.autocommit(by_keys=True) as connection:
                # Not before there is a connection: to open one takes long.
                asked = clock.now()
                return await connection.fetchval("SELECT clock_timestamp()"), asked

    @asynccontextmanager
    async def _pooled(self) -> AsyncGenerator[Any, None]:
        if self._pool is None:
            # min_size=0 so that opening the pool cannot fail; it is the first use that may.
            create_pool = cast(Any, asyncpg.create_pool)  # pyright: ignore[reportUnknownMemberType]
            settings = self._driver_settings(_PLANNED_EACH_TIME)
            self._pool = create_pool(min_size=0, max_size=self._pool_size, reset=_leave_as_it_is, **settings)
        await self._pool
        connection = await self._pool.acquire()
        try:
            yield connection
        finally:
            # One that is frozen does not call off a statement that was given up: then the connection is given up too.
            with contextlib.suppress(TimeoutError):
                await self._pool.release(connection, timeout=CLOSE_SECONDS)

    def _driver_settings(self, planning: Mapping[str, str]) -> dict[str, Any]:
        server_settings = {**planning, **self._always}
        return {**connection_options(self._url), **self._answer_limits, "server_settings": server_settings}

    async def close(self) -> None:
        """Close all connections, for good."""
        self._is_closed = True
        if self._pool is not None:
            self._pool.terminate()
        self._at_hand.terminate()
        await self._engine.dispose()


@asynccontextmanager
async def _transaction(connection: Any) -> AsyncGenerator[None, None]:
    """A transaction, rolled back on an error; a connection that has gone silent is given up instead of waited for.

    asyncpg's own would wait for the answer to ROLLBACK as long as for any other.
    """
    transaction = connection.transaction()
    try:
        await transaction.start()
        yield
    except BaseException:
        try:
            # In a task of its own: that this one is cancelled must not hinder it, nor its end.
            await asyncio.wait_for(transaction.rollback(), CLOSE_SECONDS)
        except Exception:
            # A pool that has taken a lost connection back lets nobody terminate it any more.
            with contextlib.suppress(asyncpg.exceptions.InterfaceError):
                connection.terminate()
        raise
    await transaction.commit()


async def _leave_as_it_is(_connection: Any) -> None:
    """Nothing is ever set on these connections that would have to be reset, which would cost a round trip a use."""


class _trouble_named:
    """Turns the driver's ways of saying "no connection" and "too long" into the refusals that users see."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            return
        if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == QUERY_CANCELED:
            raise QueryTooSlow from error
        if type(cause := driver_error(error)) is asyncpg.DataError:
            # The driver's own, of an argument that it cannot send; PostgreSQL's are of kinds below it.
            raise InvalidArgument(f"PostgreSQL takes no such argument: {cause}.") from error
        if is_disconnect(error):
            raise ServiceUnavailable from error


@contextlib.contextmanager
def outages_told(unknown: str | None = None) -> Generator[None]:
    """Turn the loss of the database into ``ServiceUnavailable``, which says what is ``unknown`` then, if anything."""
    try:
        yield
    except Exception as error:
        if is_disconnect(error):
            raise ServiceUnavailable(unknown) from error
        raise


def _session_settings(query_seconds: float) -> dict[str, str]:
    return {
        "statement_timeout": str(int(query_seconds * 1000)),
        # Lists are filtered by rare values as well as by common ones: a plan made for "any value" is wrong for most.
        "plan_cache_mode": "force_custom_plan",
    }


def plain_url(url: str) -> str:
    """The URL without SQLAlchemy's ``+asyncpg``, as asyncpg and libpq take it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(scheme="postgresql")) if parts.netloc else url.replace("+asyncpg", "", 1)


def connection_options(url: str) -> dict[str, Any]:
    """What ``asyncpg.connect`` takes for a URL, for all connections alike.

    Only a primary will do: after a failover an address may lead to the old one for a while, which is read-only then.
    Of several hosts in the URL, the first one that is a primary is taken. One that a setting makes read-only will not
    do either: such a connection would stay so when the setting is gone.
    """
    return {"dsn": plain_url(url), "target_session_attrs": "read-write", "timeout": CONNECT_SECONDS}


def engine_of(url: str, connecting: Mapping[str, Any] | None = None, **options: Any) -> AsyncEngine:
    """SQLAlchemy's engine for a URL, with its own ``options``, and those for ``connecting``, as asyncpg has them.

    asyncpg reads the URL, ``sslmode`` and all, because SQLAlchemy would take only some of what libpq does.
    """
    connect = cast(Any, asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]
    creator = partial(connect, **connection_options(url), **(connecting or {}))
    return create_async_engine("postgresql+asyncpg://", async_creator=creator, **options)
