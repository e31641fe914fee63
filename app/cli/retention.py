"""``taskloom retention``: for how long finished runs are kept, and what would go now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.asking import asked
from app.cli.outcomes import Refusal
from app.cli.terminal import note, out, print_json
from app.cli.triggering import Json
from app.counting import counted

if TYPE_CHECKING:
    from app.retention import Rule
    from app.service.sweeping import RetentionReport

commands = typer.Typer(help="Show and change for how long finished runs are kept.", no_args_is_help=True)

DEFAULT = "(default)"
FOR_EVER = "forever"
DAYS = f"days, or '{FOR_EVER}'"
Definition = Annotated[
    str | None, typer.Option("--definition", "-d", help="The rule of this definition; the default without it.")
]


@commands.command()
def show(json: Json = False) -> None:
    """Show the rules: the default first, then those of definitions."""
    _print(asked(lambda tasks: tasks.retention.rules()), json=json)


@commands.command("set")
def set_rule(
    definition: Definition = None,
    succeeded_logs: Annotated[
        str | None, typer.Option(help=f"How long SUCCEEDED runs keep logs and iterations: {DAYS}.")
    ] = None,
    failed_logs: Annotated[str | None, typer.Option(help=f"The same for runs that ended otherwise: {DAYS}.")] = None,
    runs: Annotated[str | None, typer.Option(help=f"How long the runs themselves are kept: {DAYS}.")] = None,
    keep_last: Annotated[
        int | None, typer.Option(help="How many of the newest runs of each definition and task stay in any case.")
    ] = None,
    json: Json = False,
) -> None:
    """Change a rule; what is not given stays."""
    days = {"succeeded_logs_days": succeeded_logs, "failed_logs_days": failed_logs, "runs_days": runs}
    changes: dict[str, Any] = {name: _days(text, _option(name)) for name, text in days.items() if text is not None}
    if keep_last is not None:
        changes["keep_last"] = keep_last
    _print([asked(lambda tasks: tasks.retention.update(definition, **changes))], json=json)


@commands.command()
def reset(definition: Definition = None, json: Json = False) -> None:
    """Take a definition's own rule away, or bring the default back to what it was."""
    _print([asked(lambda tasks: tasks.retention.reset(definition))], json=json)


@commands.command()
def report(json: Json = False) -> None:
    """Say what the rules would remove now; nothing is removed."""
    from app.cli.listings import fitted

    found = asked(lambda tasks: tasks.retention.report())
    if json:
        print_json(_report_document(found))
    elif found.definitions:
        out.print(fitted(_report_table(found), out.width))
    else:
        note("Nothing would go now.")
    if not found.is_complete:
        note("There is more: `taskloom trigger purge-history --input '{\"dry_run\": true}'` counts everything.")


def _option(name: str) -> str:
    """The option of a rule's value, as in ``--failed-logs`` of ``failed_logs_days``."""
    return f"--{name.removesuffix('_days').replace('_', '-')}"


def _days(text: str, option: str) -> float | None:
    if text.strip().lower() == FOR_EVER:
        return None
    try:
        return float(text)
    except ValueError:
        raise Refusal(f"{option} is '{text}', which is no number of days. Write 3, 0.5 or {FOR_EVER}.") from None


def _print(rules: list[Rule], *, json: bool) -> None:
    from app.cli.listings import fitted, plain_table

    if json:
        print_json({"nodes": [_rule_document(rule) for rule in rules]})
        return
    table = plain_table("DEFINITION", "SUCCEEDED LOGS", "FAILED LOGS", "RUNS", "KEEP LAST")
    for rule in rules:
        days = (rule.succeeded_logs_days, rule.failed_logs_days, rule.runs_days)
        table.add_row(rule.definition_id or DEFAULT, *map(_days_text, days), str(rule.keep_last))
    out.print(fitted(table, out.width))


def _days_text(days: float | None) -> str:
    return FOR_EVER if days is None else counted(days, "day")


def _rule_document(rule: Rule) -> dict[str, Any]:
    return {
        "definitionId": rule.definition_id,
        "succeededLogsDays": rule.succeeded_logs_days,
        "failedLogsDays": rule.failed_logs_days,
        "runsDays": rule.runs_days,
        "keepLast": rule.keep_last,
    }


def _report_document(found: RetentionReport) -> dict[str, Any]:
    rows = [
        {
            "definitionId": row.definition_id,
            "runsWithoutLogs": row.stripped,
            "logs": row.logs,
            "runs": row.runs,
            "bytes": row.bytes,
        }
        for row in found.definitions
    ]
    return {"definitions": rows, "isComplete": found.is_complete}


def _report_table(found: RetentionReport) -> Any:
    from app.cli.listings import plain_table

    table = plain_table("DEFINITION", "RUNS LOSE LOGS", "LINES", "RUNS", "ABOUT MB")
    for row in found.definitions:
        table.add_row(
            row.definition_id, f"{row.stripped:,}", f"{row.logs:,}", f"{row.runs:,}", f"{row.bytes / 1e6:,.1f}"
        )
    return table
