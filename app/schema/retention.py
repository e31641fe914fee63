"""Retention as clients see it: the rules, and what they would remove now."""

from __future__ import annotations

from datetime import datetime

import strawberry

from app.retention import Rule
from app.schema.context import Info
from app.schema.principals import Principal, principal_of


@strawberry.type(description="For how long finished runs, and what they wrote, are kept.")
class RetentionRule:
    """A rule: the default, or a definition's own."""

    definition_id: strawberry.ID | None = strawberry.field(
        description="Whose rule it is; null for the default, which counts for definitions without a rule of their own."
    )
    succeeded_logs_days: float | None = strawberry.field(
        description="For how many days after their end SUCCEEDED runs keep logs and iterations; null is for ever."
    )
    failed_logs_days: float | None = strawberry.field(
        description="The same for runs that are FAILED, ABORTED, LOST or EXPIRED; null is for ever."
    )
    runs_days: float | None = strawberry.field(
        description="For how many days after their end the runs themselves are kept; null is for ever."
    )
    keep_last: int = strawberry.field(
        description="How many of the newest runs of each definition, and of each task, are kept in any case."
    )
    updated_at: datetime | None = strawberry.field(description="When it was last changed; null when it never was.")
    updated_by: Principal | None = strawberry.field(description="Who changed it last; null when nobody did.")

    @classmethod
    def of(cls, rule: Rule) -> RetentionRule:
        """The rule as the service gives it."""
        return cls(
            definition_id=None if rule.definition_id is None else strawberry.ID(rule.definition_id),
            succeeded_logs_days=rule.succeeded_logs_days,
            failed_logs_days=rule.failed_logs_days,
            runs_days=rule.runs_days,
            keep_last=rule.keep_last,
            updated_at=rule.updated_at,
            updated_by=None if rule.updated_by is None else principal_of(rule.updated_by),
        )


@strawberry.type(description="All rules of retention. Pinned runs are kept whatever they say.")
class RetentionRules:
    """The default and what differs from it."""

    default: RetentionRule = strawberry.field(description="What counts for definitions without a rule of their own.")
    definitions: list[RetentionRule] = strawberry.field(description="The rules of definitions, ordered by their ids.")


@strawberry.type(description="What the rules would remove now of one definition.")
class RetentionReportRow:
    """A definition's share."""

    definition_id: strawberry.ID = strawberry.field(description="The id of the definition.")
    runs_without_logs: int = strawberry.field(
        description="How many runs would lose their logs and iterations, and stay themselves."
    )
    logs: int = strawberry.field(description="How many log lines would go, those of runs that go included.")
    runs: int = strawberry.field(description="How many runs would go.")
    bytes: float = strawberry.field(description="About how much room that takes, by the size of average rows.")


@strawberry.type(description="What the rules would remove now, as far as was looked.")
class RetentionReport:
    """A dry run that never scans."""

    definitions: list[RetentionReportRow] = strawberry.field(
        description="The definitions of which something would go, ordered by their ids."
    )
    is_complete: bool = strawberry.field(
        description="Whether this is all. If not, every number is a lower bound: the report looks at the 10,000 "
        "iterations and 10,000 runs that were made first. A dry run of `purge-history` counts everything."
    )


@strawberry.type
class RetentionQueries:
    """What can be read about retention."""

    @strawberry.field(description="For how long finished runs, and what they wrote, are kept.")
    async def retention(self, info: Info) -> RetentionRules:
        """All rules."""
        default, *others = await info.context.service.retention.rules()
        return RetentionRules(
            default=RetentionRule.of(default), definitions=[RetentionRule.of(rule) for rule in others]
        )

    @strawberry.field(description="What the rules of retention would remove now; nothing is removed.")
    async def retention_report(self, info: Info) -> RetentionReport:
        """A dry run, bounded."""
        report = await info.context.service.retention.report()
        rows = [
            RetentionReportRow(
                definition_id=strawberry.ID(row.definition_id),
                runs_without_logs=row.stripped,
                logs=row.logs,
                runs=row.runs,
                bytes=float(row.bytes),
            )
            for row in report.definitions
        ]
        return RetentionReport(definitions=rows, is_complete=report.is_complete)
