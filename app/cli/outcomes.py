"""How a command ends: its exit code, and one sentence on standard error where it did not do what was asked."""

from __future__ import annotations

import errno
import logging
import re
from enum import IntEnum
from typing import Any

import typer
from typer.core import TyperGroup

from app.cli.terminal import complain
from app.errors import ServiceUnavailable, TaskError, TriggerRefused

OPTIONS = {
    "Shorter texts are found by 'name' or 'tags'": "Shorter words are found by --tag where they are tags",
    "'delaySeconds'": "--delay",
    "'startAt'": "--start-at",
    "'ttlSeconds'": "--ttl",
    "'timeoutSeconds'": "--timeout",
    "'maxAttempts'": "--max-attempts",
    "'idempotencyKey'": "--idempotency-key",
    "an idempotencyKey": "--idempotency-key",
    "'uniqueKey'": "--unique-key",
    "'uniquePolicy'": "--unique-policy",
    "'priority'": "--priority",
    "'name'": "--name",
    "'queue'": "--queue",
    "'tags'": "--tag",
    "'message'": "--message",
    "'succeededLogsDays'": "--succeeded-logs",
    "'failedLogsDays'": "--failed-logs",
    "'runsDays'": "--runs",
    "'keepLast'": "--keep-last",
    "give succeededLogsDays, failedLogsDays, runsDays or keepLast": (
        "give --succeeded-logs, --failed-logs, --runs or --keep-last"
    ),
    "Pass all: true": "Pass --all",
    "'since'": "--since",
    "'until'": "--until",
    "'first'": "--limit",
    "'owner'": "--owner",
    "'search'": "--search",
    "'errorText'": "--error",
    "'durationMs'": "What --slower and --quicker say",
    "'cron'": "--cron",
    "'every'": "--every",
    "'at'": "--at",
    "'jitterSeconds'": "--jitter",
    "'maxFailures'": "--max-failures",
    "'count'": "--count",
    "'after'": "--after",
    "Follow pageInfo's cursors": "Use --after with the cursor that a page ends with",
    "with force: true": "with --force",
}
"""GraphQL's names for arguments, and the options of the command."""
COMMANDS = {
    "bulkActions shows": "`taskloom bulk list` shows",
    "auditEvents shows": "`taskloom audit` shows",
    "triggerTask": "`taskloom trigger`",
    "createTask": "`taskloom tasks create`",
    "; tasks lists": "; `taskloom tasks list` shows",
    ". schedules lists": ". `taskloom schedules list` shows",
    "task(id) { revisions } lists": "`taskloom tasks revisions` lists",
    "bulkActions lists": "`taskloom bulk list` shows",
    "errorGroups lists": "`taskloom errors list` shows",
    "Enable it with updateTask": "Enable it with `taskloom tasks update --enable`",
    "taskDefinitions lists": "`taskloom definitions` lists",
}
"""GraphQL's names for operations, and the commands that do the same."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What goes wrong with the file or disk that standard output goes to, and never with a connection."""
_VALUE = re.compile(
    r"(\b(?:task|definition|run|group|schedule|action|batch|search|key|[Qq]ueue|called|zone) '[^']*'"
    r"|'[^']*' (?:is no (?!cursor)|is not the id|is the name|is declared|allows|checks|cools)"
    r"|fit the schema of .*(?=\. taskDefinition\())",
    re.DOTALL,
)
"""What a refusal quotes of what was given: a task may be called 'name', and an input may have to be 'queue' or 'at'."""
_SCHEMA_QUERY = re.compile(r'taskDefinition\(id: "[^"]*"\) \{ inputSchema \}')


class ExitCode(IntEnum):
    """What a script can tell an outcome by."""

    OK = 0
    FAILED = 1
    """The command worked and the thing failed: the run, a check."""
    REFUSED = 2
    """What was asked is not allowed, or is not there."""
    AWAY = 3
    """The database does not answer, cannot do what it was asked just now, or is not ready for this version."""


class Refusal(Exception):
    """The command cannot do what was asked; the message is a sentence that tells the cure."""


class Commands(TyperGroup):
    """The group of all commands: turns what they raise into a sentence and an exit code, never into a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. A bug still shows its traceback."""
        if logging.lastResort is not None:
            logging.lastResort.addFilter(_is_said_nowhere_else)
        try:
            return super().invoke(ctx)
        except Exception as error:
            code = told(error)
            if code is None:
                raise
            raise typer.Exit(code) from None


def _is_said_nowhere_else(record: logging.LogRecord) -> bool:
    """Whether to print a line of a log that nobody has set up: of what the service warns, the sentence tells."""
    return record.name != "taskloom.service" or record.levelno > logging.WARNING


def told(error: Exception) -> ExitCode | None:
    """Say the sentence for an error that is no bug of Taskloom; returns the exit code, or None for one that may be."""
    if (known := _outcome_of(error)) is None:
        return None
    code, sentence = known
    complain(sentence)
    return code


def _outcome_of(error: Exception) -> tuple[ExitCode, str] | None:
    """The exit code and the sentence for an error that is no bug of Taskloom; None for one that may be."""
    if isinstance(error, ServiceUnavailable):
        return ExitCode.AWAY, unreachable(error)
    if isinstance(error, TriggerRefused):
        # The words of whoever wrote the definition's check.
        return ExitCode.REFUSED, error.message
    if isinstance(error, TaskError):
        return ExitCode.REFUSED, in_words_of_the_command(error.message)
    if isinstance(error, Refusal):
        return ExitCode.REFUSED, str(error)
    return None if isinstance(error, typer.Exit | typer.Abort) else _outcome_below(error)


def in_words_of_the_command(message: str) -> str:
    """A refusal of the service, which speaks GraphQL's language, with the names of this command's options."""
    return in_words_of_a_document(_replaced(message, OPTIONS))


def in_words_of_a_document(message: str) -> str:
    """A refusal of what a document says: its fields keep their names, operations are named as commands."""
    return _SCHEMA_QUERY.sub("Its inputSchema in `taskloom definitions --json`", _replaced(message, COMMANDS))


def _replaced(message: str, words: dict[str, str]) -> str:
    """The message with our words in the place of theirs, but for what it quotes."""
    parts = _VALUE.split(message)
    for theirs, ours in words.items():
        parts[::2] = [part.replace(theirs, ours) for part in parts[::2]]
    return "".join(parts)


def _outcome_below(error: Exception) -> tuple[ExitCode, str] | None:
    """The same for the errors of the libraries beneath, which are loaded by now if they raised one."""
    from app.db import is_disconnect, is_unmigrated
    from app.hosts import CannotListen
    from app.registry import DefinitionError

    if isinstance(error, DefinitionError | CannotListen):
        return ExitCode.REFUSED, str(error)
    if isinstance(error, BrokenPipeError):
        return None
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return (
            ExitCode.FAILED,
            f"The answer cannot be written: {error.strerror}. What was asked may be done already.",
        )
    if is_unmigrated(error):
        return ExitCode.AWAY, "The database has not the tables of this version: run `taskloom migrate`, then try again."
    return (ExitCode.AWAY, unreachable(error)) if is_disconnect(error) else None


def unreachable(error: Exception) -> str:
    """The sentence for a database that does not answer, cannot do what it was asked, or lets this process not in."""
    from app.cli.environment import database_place
    from app.db import complaint, forbidden, is_missing_database, refusal

    if said := refusal(error):
        cure = " `taskloom migrate --create-database` creates it." if is_missing_database(error) else ""
        return f"PostgreSQL refuses the connection: {said}. DATABASE_URL says where and as whom.{cure}"
    database = f"PostgreSQL at {database_place()}"
    if said := forbidden(error):
        return f"{database} does not let this role do that: {said}. Grant it that, or name another one in DATABASE_URL."
    if said := complaint(error):
        became = _what_became(error) or f"{database} answers, but cannot do this just now; try again shortly. "
        return f"{became}It says: {said}."
    return (
        f"{_what_became(error)}{database} does not answer. Start it (`make run`, or `taskloom dev`, starts "
        "everything), or set DATABASE_URL to where it is."
    )


def _what_became(error: Exception) -> str:
    """What the service knows of what it was asked to do; nothing where it has only the general sentence."""
    if isinstance(error, ServiceUnavailable) and error.tells_what_became:
        return f"{in_words_of_the_command(error.message)} "
    return ""
