"""The report of a tier, as a table for a terminal and as a page."""

import platform
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from io import StringIO

import attrs
from rich.console import Console
from rich.table import Table

from kms.simulation.campaign import processors
from tests.proof.report import PartReport
from tests.proof.tiers import ROWS, TABLES, Tier


@attrs.frozen(kw_only=True)
class Done:
    """One part of a tier."""

    name: str
    amount: float
    report: PartReport | None
    """None: it ended without one"""
    failures: list[str]


def table(tier: Tier, done: Sequence[Done], seconds: float) -> str:
    """For a terminal."""
    rows = Table("part", "invariants", "made", "checks", "faults", "broken", "time", box=None)
    for each in done:
        report = each.report
        if report is None:
            rows.add_row(each.name, "", "", "", "", "no report", "")
            continue
        rows.add_row(
            each.name,
            _names(report.invariants),
            _made(report, ", "),
            f"{report.checks:,}",
            f"{sum(report.faults.values()):,} of {len(report.faults)} kinds"
            if report.faults
            else "",
            str(len(report.violations)),
            f"{report.seconds:.0f} s",
        )
    out = StringIO()
    console = Console(file=out, width=150)
    console.print(f"The proof, {tier.value} tier, {_where()}: {seconds / 60:.1f} min")
    console.print(rows)
    for name, report in _reports(done):
        if report.table:
            head, *body = report.table
            drawn = Table(*head, title=f"{name}: {TABLES[name]}", title_justify="left", box=None)
            for row in body:
                drawn.add_row(*row)
            console.print(drawn)
        for warning in report.warnings:
            console.print(f"WARNING {name}: {warning}", highlight=False, soft_wrap=True)
    for each in done:
        for failure in each.failures:
            console.print(f"FAILED {each.name}: {failure}", highlight=False, soft_wrap=True)
    if not any(each.failures for each in done):
        console.print("nothing broke")
    return out.getvalue()


def markdown(tier: Tier, done: Sequence[Done], seconds: float) -> str:
    """For the documentation."""
    now = datetime.now(UTC)
    lines = [
        f"# The proof, {tier.value} tier",
        "",
        f"Made by `make prove TIER={tier.value}` on {now:%Y-%m-%d}, {_where()}, "
        f"in {seconds / 60:.0f} minutes. What the parts are: docs/proof.md.",
        "",
        "| part | invariants | asked for | made | checks | broken | time |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in done:
        report = each.report
        asked = f"{each.amount:,g} {ROWS[each.name].unit}"
        if report is None:
            lines.append(f"| {each.name} | | {asked} | no report | | | |")
        else:
            lines.append(
                f"| {each.name} | {_names(report.invariants)} | {asked} | {_made(report, '; ')} "
                f"| {report.checks:,} | {len(report.violations)} | {report.seconds:,.0f} s |"
            )
    lines += ["", "## Measured", "", "| part | figure | value |", "|---|---|---|"]
    lines += [
        f"| {part} | {name} | {_figure(value)} |"
        for part, report in _reports(done)
        for name, value in report.measured.items()
    ]
    for part, report in _reports(done):
        if report.table:
            head, *body = report.table
            lines += [
                "",
                f"## {part}: {TABLES[part]}",
                "",
                *map(_row, (head, ["---:"] * len(head))),
            ]
            lines += map(_row, body)
    lines += ["", "## Faults", "", "| part | fault | times |", "|---|---|---|"]
    lines += [
        f"| {part} | {kind} | {count:,} |"
        for part, report in _reports(done)
        for kind, count in report.faults.items()
    ]
    warnings = [f"- {part}: {each}" for part, report in _reports(done) for each in report.warnings]
    lines += ["", "## Warnings", "", *(warnings or ["None."])]
    failures = [f"- {each.name}: {failure}" for each in done for failure in each.failures]
    lines += ["", "## Failures", "", *(failures or ["None."])]
    return "\n".join(lines) + "\n"


def _reports(done: Sequence[Done]) -> Iterator[tuple[str, PartReport]]:
    """Of the parts that ended with one."""
    for each in done:
        if each.report:
            yield each.name, each.report


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _names(invariants: Sequence[str]) -> str:
    if len(invariants) < 4:
        return " ".join(invariants)
    return f"{invariants[0]} to {invariants[-1]}"


def _made(report: PartReport, between: str) -> str:
    return between.join(f"{count:,} {name}" for name, count in _whole(report).items())


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _whole(report: PartReport) -> dict[str, int | float]:
    return {name: int(count) if count == int(count) else count
            for name, count in report.made.items()}  # fmt: skip


def _where() -> str:
    return f"commit {_commit()}, Python {platform.python_version()}, {processors()} processors"


def _commit() -> str:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
