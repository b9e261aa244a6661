"""One part, alone in a process: ``python -m tests.proof.one kills --amount 3 --seed 7``.

Its progress is lines on stderr, its report one JSON object on stdout. A part that dies without a
report says so in the last line of stderr: of what, and how far it had come.
"""

import json
import sys
import traceback
from argparse import ArgumentParser
from typing import Final

import attrs

from tests.proof.report import PartReport
from tests.proof.tiers import ROWS, Tier, part

# Of an error's own words.
_WORDS_MAX: Final = 400


def main() -> int:
    """Runs the part; 1 when it does not count as passed."""
    parser = ArgumentParser(prog="python -m tests.proof.one")
    parser.add_argument("part", choices=ROWS)
    parser.add_argument("--amount", type=float, help="in the part's own unit; else the commit's")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    amount = wanted.amount or ROWS[wanted.part].amount(Tier.COMMIT)
    told: list[str] = []

    def tell(line: str) -> None:
        told[:] = [line]
        _tell(line)

    try:
        report = part(wanted.part)(amount, wanted.seed, tell)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told in one line
        traceback.print_exc()
        far = told[0] if told else "nothing"
        _tell(f"FAILED {wanted.part} died of {_words(error)}; it had come to: {far}")
        return 1
    print(json.dumps(attrs.asdict(report)))
    for failure in report.failures(amount):
        _tell(f"FAILED {failure}")
    return 1 if report.failures(amount) else 0


def _words(error: BaseException) -> str:
    """What the traceback ends with, in one line."""
    said = " ".join("".join(traceback.format_exception_only(error)).split())
    return said[:_WORDS_MAX]


def read(text: str) -> PartReport:
    """What ``main`` printed."""
    fields = json.loads(text)
    for name in ("invariants", "violations", "warnings"):
        fields[name] = tuple(fields[name])
    fields["table"] = tuple(map(tuple, fields["table"]))
    return PartReport(**fields)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
