"""``kms sim``: what it runs and what it prints."""

import sys
from collections.abc import Callable

import attrs
import msgspec
from rich.console import Console
from rich.table import Table

from kms.domain.errors import LocalFault
from kms.simulation import plan
from kms.simulation.campaign import Campaign, Report, processors
from kms.simulation.checkers import ALL
from kms.simulation.run import Result
from kms.simulation.shorten import Shortener, playbook

HOURS_MAX = 10_000.0


def simulate(campaign: Campaign, *, jobs: int, shorten: bool, as_json: bool) -> int:
    """Runs all, prints the report; 1 when an invariant broke or a fault was tried too seldom."""
    if not 0 < campaign.hours_each <= HOURS_MAX:
        raise LocalFault(
            f"{campaign.hours_each} simulated hours", hint=f"more than 0, at most {HOURS_MAX:g}"
        )
    if campaign.seeds < 1:
        raise LocalFault(f"{campaign.seeds} seeds", hint="one or more")
    console = Console(stderr=True)
    failed: list[Result] = []
    done = 0
    with console.status(f"0 of {campaign.seeds} seeds") as status:

        def tell(result: Result) -> None:
            nonlocal done
            done += 1
            if result.violation:
                failed.append(result)
            status.update(f"{done} of {campaign.seeds} seeds, {len(failed)} violations")

        report = campaign.report(campaign.results(jobs or processors()), tell)
        text = _shortened(campaign, failed[0], status.update) if failed and shorten else ""
    if as_json:
        fields = {**attrs.asdict(report), "playbook": text}
        print(msgspec.json.encode(fields).decode())
    else:
        _print(report, text)
    return 1 if report.violations or report.seldom else 0


def _shortened(campaign: Campaign, failed: Result, tell: Callable[[str], None]) -> str:
    shortener = Shortener(campaign.topology, failed, ALL)
    drawn = plan.drawn(failed.seed, campaign.hours_each, campaign.topology)
    faults = shortener.shortest(drawn, tell)
    return playbook(campaign.topology, failed, shortener.hours, faults)


def _print(report: Report, text: str) -> None:
    console = Console()
    last = report.first_seed + report.seeds - 1
    seeds = f"seed {last}" if report.seeds == 1 else f"seeds {report.first_seed} to {last}"
    console.print(
        f"{report.topology}, {seeds}: {report.simulated_hours:,.1f} simulated hours, "
        f"{report.events:,} events, {report.events_per_second:,.0f} a second, "
        f"{report.served:,} keys at both ends",
        highlight=False,
    )
    table = Table("invariant", "checks", "fault", "times", box=None, pad_edge=False)
    checks = list(report.checks.items())
    faults = list(report.faults.items())
    for row in range(max(len(checks), len(faults))):
        one = checks[row] if row < len(checks) else ("", "")
        other = faults[row] if row < len(faults) else ("", "")
        table.add_row(one[0], _count(one[1]), other[0], _count(other[1]))
    console.print(table)
    figures = Table("measured", "", box=None, pad_edge=False)
    for name, figure in report.measured.items():
        figures.add_row(name, f"{figure:,.0f}")
    console.print(figures)
    console.print(f"trace {report.trace_hash}", highlight=False)
    for kind in report.seldom:
        console.print(f"too seldom: {kind}: {report.faults[kind]} times", highlight=False)
    for violation in report.violations:
        console.print(f"VIOLATION {violation}", highlight=False, soft_wrap=True)
    if not report.violations:
        console.print("no violation", highlight=False)
    if text:
        sys.stdout.write("\n" + text)


def _count(number: object) -> str:
    return f"{number:,}" if isinstance(number, int) else ""
