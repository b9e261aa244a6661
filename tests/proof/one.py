"""One part, alone in a process: ``python -m tests.proof.one kills --amount 3 --seed 7``.

Its progress is lines on stderr, its report one JSON object on stdout.
"""

import json
import sys
from argparse import ArgumentParser

import attrs

from tests.proof.report import PartReport
from tests.proof.tiers import ROWS, Tier, part


def main() -> int:
    """Runs the part; 1 when it does not count as passed."""
    parser = ArgumentParser(prog="python -m tests.proof.one")
    parser.add_argument("part", choices=ROWS)
    parser.add_argument("--amount", type=float, help="in the part's own unit; else the commit's")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    amount = wanted.amount or ROWS[wanted.part].amount(Tier.COMMIT)
    report = part(wanted.part)(amount, wanted.seed, _tell)
    print(json.dumps(attrs.asdict(report)))
    for failure in report.failures(amount):
        _tell(f"FAILED {failure}")
    return 1 if report.failures(amount) else 0


def read(text: str) -> PartReport:
    """What ``main`` printed."""
    fields = json.loads(text)
    for name in ("invariants", "violations"):
        fields[name] = tuple(fields[name])
    return PartReport(**fields)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
