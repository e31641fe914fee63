"""``taskloom serve · worker · migrate · schema`` as processes, their servers here or away, and what they log."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path

import orjson
import pytest

from app import TaskService, migrations
from app.cli import environment
from app.cli.nearby import running_servers
from app.cli.outcomes import Refusal
from app.dev.postgres import EmbeddedPostgres
from app.dev.valkey import EmbeddedValkey
from app.reporting import formatter
from app.schema.export import export
from app.settings import Settings, get_settings
from tests.cli.command import ROOT, Command
from tests.cli.forked import ForkedCommand
from tests.operations.outages import as_role, role_with_password
from tests.service.test_partitions import upgrade
from tests.workbench import until

AWAY = {"DATABASE_URL": "postgresql://ada:secret@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1/0"}


@asynccontextmanager
async def both(state: Path) -> AsyncIterator[tuple[EmbeddedPostgres, EmbeddedValkey]]:
    """The servers that ``make run`` starts in its state directory."""
    postgres, valkey = (
        EmbeddedPostgres(state / "postgres", durable=False),
        EmbeddedValkey(state / "valkey", durable=False),
    )
    await postgres.start()
    await valkey.start()
    yield postgres, valkey
    await valkey.stop()
    await postgres.stop()


async def until_said(stream: asyncio.StreamReader | None, text: str) -> str:
    """The first line that holds the text."""
    assert stream is not None
    async with asyncio.timeout(20):
        while line := (await stream.readline()).decode():
            if text in line:
                return line
    raise AssertionError(f"'{text}' was never said")


async def test_the_version_and_the_help_need_no_server() -> None:
    version, help = await asyncio.gather(Command(**AWAY)("--version"), Command(**AWAY)("--help"))
    assert version.code == help.code == 0
    assert version.out.startswith("taskloom ")
    commands = "dev serve worker migrate trigger runs definitions schema doctor new-task"
    assert all(f" {command} " in help.out for command in commands.split())


def test_what_an_installed_package_calls_taskloom_is_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    command = EntryPoint("taskloom", scripts["taskloom"], "console_scripts").load()
    monkeypatch.setattr(sys, "argv", ["taskloom", "--version"])
    threshold = gc.get_threshold()
    with pytest.raises(SystemExit, match="0"):
        command()
    gc.set_threshold(*threshold)
    assert capsys.readouterr().out.startswith("taskloom ")


@pytest.mark.parametrize("args", [("runs", "list"), ("trigger", "x", "--json"), ("migrate",), ("definitions",)])
async def test_a_database_that_is_away_ends_a_command_with_3_and_one_sentence_without_the_password(
    args: tuple[str, ...],
) -> None:
    answer = await ForkedCommand(**AWAY)(*args)
    assert (answer.code, answer.out) == (3, "")
    assert answer.sentence.startswith("PostgreSQL at 127.0.0.1:1 does not answer.")
    assert "secret" not in answer.err


async def test_a_database_without_tables_or_of_another_name_ends_a_command_with_3(
    settings: Settings, fresh_database_url: str
) -> None:
    empty, missing = await asyncio.gather(
        ForkedCommand(settings, DATABASE_URL=fresh_database_url)("runs", "list"),
        ForkedCommand(settings, DATABASE_URL=settings.database_url.replace("taskloom_test_", "gone_"))("runs", "list"),
    )
    assert (empty.code, missing.code) == (3, 3)
    assert empty.sentence.endswith("run `taskloom migrate`, then try again.")
    assert "does not exist" in missing.sentence
    assert missing.sentence.endswith("`taskloom migrate --create-database` creates it.")


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment, in which a test sets variables; settings are read anew."""
    get_settings.cache_clear()
    for name, value in AWAY.items():
        monkeypatch.setenv(name, value)
    yield monkeypatch
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("DATABASE_URL", "nonsense", "DATABASE_URL must begin with postgresql://, postgres:// or"),
        ("DATABASE_URL", "postgres:/x", "DATABASE_URL must begin with postgresql://"),
        ("DATABASE_URL", "postgresql://ada:sesame@h:port/x", "DATABASE_URL has a port that is no number from 1 to"),
        ("DATABASE_URL", "postgresql://ada:sesame/@h/x", "DATABASE_URL has a port that is no number from 1 to"),
        ("DATABASE_URL", "postgresql://ada:sesame@h:65536/x", "DATABASE_URL has a port that is no number from 1 to"),
        ("DATABASE_URL", "postgresql://ada:sesame@me@h/x", "DATABASE_URL has more than one '@'. Write it as in"),
        ("DATABASE_URL", "postgresql://[sesame/x", "DATABASE_URL is no URL: it has a"),
        ("DATABASE_URL", "postgresql://h/x?sslmode=on", "DATABASE_URL has an sslmode that is none of disable, allow"),
        ("REDIS_URL", "http://x", "REDIS_URL must begin with redis://, rediss:// or unix://"),
        ("REDIS_URL", "redis://h/zero", "REDIS_URL names a database that is no number. Write it as in redis://"),
        ("REDIS_URL", "redis://h?sesame=1", "REDIS_URL has options behind its '?' that Redis has not."),
        ("REDIS_URL", "unix://valkey.sock", "REDIS_URL names no socket: its path begins with a third '/'."),
        ("TASKLOOM_CONCURRENCY", "many", "cannot be used. TASKLOOM_CONCURRENCY must be a whole number."),
        ("TASKLOOM_CONCURRENCY", "0", "TASKLOOM_CONCURRENCY must be greater than or equal to 1."),
        ("TASKLOOM_MAX_INTERRUPTIONS", "99999999999999", "TASKLOOM_MAX_INTERRUPTIONS: give a whole number up to"),
        ("TASKLOOM_QUERY_SECONDS", "0.0005", "TASKLOOM_QUERY_SECONDS must be greater than or equal to 0.001."),
        ("TASKLOOM_QUEUES", "caf\udce9", "'caf?' is no name of a queue"),
        ("TASKLOOM_REAP_SECONDS", "inf", "TASKLOOM_REAP_SECONDS must be a number."),
        ("TASKLOOM_MAX_OUTPUT_BYTES", "67108865", "TASKLOOM_MAX_OUTPUT_BYTES must be less than or equal to 67108864."),
        ("TASKLOOM_QUERY_SECONDS", "1e7", "TASKLOOM_QUERY_SECONDS must be less than or equal to 2000000."),
        ("TASKLOOM_ALLOW_ANONYMOUS", "maybe", "TASKLOOM_ALLOW_ANONYMOUS must be 1 or 0."),
        ("TASKLOOM_ALLOWED_ORIGINS", "ui.example", "'ui.example' is no origin. Give scheme and host,"),
        ("TASKLOOM_LOG_FORMAT", "xml", "TASKLOOM_LOG_FORMAT must be 'console' or 'json'."),
        ("TASKLOOM_QUEUE_LIMITS", "mail=10,reports", "'reports' is no limit of a queue. Give each queue once"),
        ("TASKLOOM_QUEUES", " , ", "a worker needs a queue to serve. Name one or more, as in default,reports"),
        ("TASKLOOM_QUEUES", "mail,Reports", "'Reports' is no name of a queue. Give it 1 to 63 lower-case letters"),
        ("TASKLOOM_LEASE_SECONDS", "29", "Set TASKLOOM_LEASE_SECONDS to 30 or more, or TASKLOOM_HEARTBEAT_SECONDS"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_with_what_is_allowed(
    surroundings: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    surroundings.setenv(variable, value)
    with pytest.raises(Refusal) as refused:
        environment.settings()
    assert words in str(refused.value)
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://ada:secret@[::1]:5432/x", "[::1]:5432"),
        ("postgresql://ada:secret@one:1,two:2/x?sslmode=require", "one:1,two:2"),
        ("postgresql://postgres@/x?host=/run/postgres&port=5432", "/run/postgres"),
    ],
)
def test_a_database_is_named_by_its_place_whichever_way_its_url_tells_it(
    surroundings: pytest.MonkeyPatch, url: str, said: str
) -> None:
    surroundings.setenv("DATABASE_URL", url)
    assert environment.settings().database_url == url
    assert environment.database_place() == said


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"TASKLOOM_CONCURRENCY": "many"}, "A setting in the environment cannot be used. TASKLOOM_CONCURRENCY must"),
        ({"queue": "a b"}, "TASKLOOM_QUEUES: 'a b' is no name of a queue"),
        ({"TASKLOOM_TASKS": "no.such.module"}, "The module 'no.such.module' named in TASKLOOM_TASKS cannot be"),
    ],
)
async def test_a_worker_with_settings_that_cannot_be_used_ends_with_2(variables: dict[str, str], words: str) -> None:
    options = ("--queue", variables.pop("queue")) if "queue" in variables else ()
    answer = await Command(**{**AWAY, **variables})("worker", *options)
    assert answer.code == 2
    assert words in answer.sentence


@pytest.mark.parametrize("heartbeat", [0.1, 1.1, 10.0])
def test_a_lease_of_three_heartbeats_is_long_enough(heartbeat: float) -> None:
    settings = Settings(lease_seconds=round(3 * heartbeat, 1), heartbeat_seconds=heartbeat)
    assert settings.heartbeat_seconds == heartbeat


async def test_serve_refuses_an_address_beyond_loopback() -> None:
    answer = await ForkedCommand(**AWAY)("serve", "--host", "0.0.0.0", "--port", "0")
    assert answer.code == 2
    assert "TASKLOOM_ALLOW_ANONYMOUS=1" in answer.sentence


async def test_serve_on_a_port_in_use_ends_with_2_and_the_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        answer = await ForkedCommand(**AWAY)("serve", "--port", port)
    assert answer.code == 2
    assert answer.sentence.startswith(f"The server cannot listen on 127.0.0.1 port {port} (Address already in use)")


async def test_serve_waits_for_its_database_with_one_line_and_ends_on_sigterm() -> None:
    async with Command(**AWAY).started("serve", "--port", "0") as process:
        line = await until_said(process.stderr, "PostgreSQL at 127.0.0.1:1 does not answer")
        assert "Traceback" not in line
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert process.stderr is not None
        rest = (await process.stderr.read()).decode()
        assert "PostgreSQL" not in rest


async def test_a_worker_waits_for_its_database_with_one_line_then_serves_the_queues_it_is_told(
    settings: Settings, tasks: TaskService
) -> None:
    command = Command(settings)
    async with command.started("worker", "--queue", "a", "--queue", "b", "--concurrency", "3") as process:
        (found,) = await until(tasks.workers)
        assert (found.queues, found.capacity) == (["a", "b"], 3)
        assert "checksum-tree" in found.definition_ids
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
    async with Command(**AWAY).started("worker") as process:
        await until_said(process.stderr, "PostgreSQL is away")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0


@pytest.mark.parametrize("version", ["without tables", "of an older version"])
async def test_a_worker_waits_with_one_line_for_a_database_that_is_not_migrated(
    settings: Settings, fresh_database_url: str, version: str
) -> None:
    if version == "of an older version":
        await upgrade(fresh_database_url, "0019")
    command = ForkedCommand(settings, DATABASE_URL=fresh_database_url)
    async with command.started("worker") as process:
        await until_said(process.stderr, "The database has not the tables of this version: run `taskloom migrate`.")
        assert (await command("migrate")).code == 0
        assert process.stderr is not None
        said = (await process.stderr.readline()).decode()
        assert "The database is ready." in said
        await until_said(process.stderr, "is ready: ")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_a_wrong_password_is_told_in_one_sentence_by_every_command_and_waited_out_by_a_worker(
    settings: Settings, embedded_postgres: EmbeddedPostgres
) -> None:
    async with role_with_password(embedded_postgres, "lin", "before") as owner:
        command = ForkedCommand(settings, DATABASE_URL=as_role(settings.database_url, "lin", "sesame"))
        for args in (("runs", "list"), ("trigger", "checksum-tree"), ("migrate",)):
            answer = await command(*args)
            assert answer.code == 3
            assert answer.sentence.startswith("PostgreSQL refuses the connection: password authentication failed for")
            assert "sesame" not in answer.err
        async with command.started("worker") as process:
            line = await until_said(process.stderr, "PostgreSQL refuses the connection (password authentication")
            assert "sesame" not in line
            await owner.execute("ALTER ROLE lin PASSWORD 'sesame'")
            await until_said(process.stderr, "is ready: ")
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


INTERRUPTED = """
import importlib, os, signal, sys
os.kill(os.getpid(), signal.SIGINT)
# From here on the module is the one that it stands in for.
sys.path.remove(os.path.dirname(__file__))
del sys.modules[__name__]
importlib.import_module(__name__)
"""


@pytest.mark.parametrize(
    ("module", "command"),
    [("typing", "definitions"), ("sqlmodel", "worker"), ("interrupted_tasks", "worker")],
)
async def test_ctrl_c_while_modules_are_loaded_ends_a_command_without_a_word(
    tmp_path: Path, settings: Settings, module: str, command: str
) -> None:
    (tmp_path / f"{module}.py").write_text(INTERRUPTED)
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "TASKLOOM_TASKS": "interrupted_tasks"}
    answer = await Command(settings, **environment)(command)
    assert (answer.code, answer.out, answer.err) == (130, "", "")


async def test_a_task_module_that_exits_is_named(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "leaving_tasks.py").write_text("import sys; sys.exit(3)")
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "TASKLOOM_TASKS": "leaving_tasks"}
    answer = await Command(settings, **environment)("worker")
    assert answer.code == 2
    assert "'leaving_tasks' named in TASKLOOM_TASKS cannot be imported: SystemExit: 3" in answer.sentence


async def test_logs_are_json_lines_where_the_setting_says_so(settings: Settings) -> None:
    async with Command(settings, TASKLOOM_LOG_FORMAT="json").started("worker") as process:
        line = orjson.loads(await until_said(process.stderr, "is ready"))
    assert (line["level"], line["logger"]) == ("info", "taskloom.worker")
    assert {"timestamp", "message"} <= set(line)


BROKEN = """
import logging, threading, warnings
raise_it = lambda: 1 / 0
from workers.capture import install
from app.reporting import configure_logging
from app.settings import get_settings
configure_logging(get_settings())
install()
library = logging.getLogger("somebody.elses")
library.info("not worth a line")
circle = {}
circle[("a", 1)] = circle
library.warning("a message", extra={"event": "another", "level": "none", "circle": circle})
warnings.warn("old", stacklevel=1)
thread = threading.Thread(target=raise_it, name="lonely")
thread.start()
thread.join()
raise_it()
"""


async def test_every_line_is_a_document_whatever_libraries_log_and_however_threads_and_the_process_end() -> None:
    environment = {**os.environ, "TASKLOOM_LOG_FORMAT": "json", "TASKLOOM_LOG_LEVEL": "WARNING"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BROKEN, cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, written = await process.communicate()
    message, warning, thread, end = [orjson.loads(line) for line in written.splitlines()]
    assert (message["message"], message["level"], message["logger"]) == ("a message", "warning", "somebody.elses")
    assert (warning["logger"], "UserWarning: old" in warning["message"]) == ("py.warnings", True)
    assert (thread["level"], thread["message"]) == ("critical", "The thread 'lonely' ended with ZeroDivisionError.")
    assert end["message"] == "The process ended with ZeroDivisionError."
    assert all("Traceback" in line["exception"] for line in (thread, end))
    assert process.returncode == 1


def test_a_logged_error_shows_its_traceback_without_locals_and_without_passwords() -> None:
    hidden = "hunter" + "2"
    try:
        raise OSError("postgresql://ada:sesame@db/x is away")
    except OSError:
        record = logging.LogRecord("taskloom.worker", logging.ERROR, "", 1, "It %s.", ("broke",), sys.exc_info())
    for format in ("console", "json"):
        text = formatter(format).format(record)
        assert "It broke." in text
        assert "Traceback" in text
        assert "postgresql://ada:***@db/x" in text
        assert hidden not in text
        assert "sesame" not in text


async def test_migrate_tells_the_versions_and_may_be_repeated(settings: Settings, fresh_database_url: str) -> None:
    command = ForkedCommand(settings, DATABASE_URL=fresh_database_url)
    first, second = await command("migrate"), await command("migrate")
    assert first.out == f"The database went from version none to {migrations.head()}.\n"
    assert second.out == f"The database is at version {migrations.head()}, which is the newest.\n"


async def test_the_schema_is_exported_and_a_file_out_of_step_is_shown_with_a_diff(tmp_path: Path) -> None:
    file, command = tmp_path / "schema.graphql", ForkedCommand()
    assert (await command("schema", "export", "--output", str(file))).code == 0
    assert file.read_text() == export() == (await command("schema", "export", "-o", "-")).out
    assert (await command("schema", "check", str(file))).code == 0
    file.write_text(export().replace("type Worker {", "type Robot {"))
    answer = await command("schema", "check", str(file))
    assert answer.code == 1
    assert "-type Robot {" in answer.err
    assert "+type Worker {" in answer.err
    assert "run `taskloom schema export`" in answer.err


async def test_the_servers_of_a_running_make_run_are_found_without_any_setting(server_home: Path) -> None:
    checkout = server_home / "checkout"
    state = checkout / ".taskloom"
    state.mkdir(parents=True)
    for step in (checkout, state):
        step.chmod(0o755)
    assert running_servers(checkout) is None
    async with both(state) as (postgres, valkey):
        assert running_servers(checkout) is None
        (state / "lock").write_text(f"{os.getpid()}\n")
        found = running_servers(checkout)
        assert found is not None
        assert (found.database_url, found.redis_url) == (postgres.url, valkey.url)
    assert running_servers(checkout) is None
