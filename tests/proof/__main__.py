"""Runs a tier: every part in a process of its own, as many at once as there are processors.

``python -m tests.proof --tier night --markdown docs/proof-night.md`` is the whole of it. A part
that hangs is ended after its share of the tier's time, and counts as failed.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from kms.simulation.campaign import processors
from tests.proof.one import read
from tests.proof.page import Done, markdown, table
from tests.proof.report import PartReport
from tests.proof.tiers import LONGEST_S, ROWS, Tier

_print_lock = threading.Lock()
_TELL_EVERY_S = 30.0
# Of a part's last line, when it ends without a report: what it died of, how far it had come.
_LAST_MAX = 600


def main() -> int:
    """Prints the report; 1 when a part did not pass."""
    parser = ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--tier", type=Tier, choices=list(Tier), default=Tier.COMMIT)
    parser.add_argument("--seed", type=int, default=1, help="of every part")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the tier's amounts")
    parser.add_argument("--lanes", type=int, default=processors(), help="parts at once")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--markdown", type=Path, help="write the report there as well")
    wanted = parser.parse_args()
    say = _to_stderr if wanted.json else _to_stdout
    began = time.monotonic()
    done = list(_all(wanted.tier, wanted.only, wanted.seed, wanted.scale, wanted.lanes, say))
    seconds = time.monotonic() - began
    if wanted.markdown:
        wanted.markdown.write_text(markdown(wanted.tier, done, seconds))
    if wanted.json:
        print(json.dumps({"tier": wanted.tier.value, "seconds": seconds,
                          "parts": [attrs.asdict(each) for each in done]}))  # fmt: skip
    else:
        print(table(wanted.tier, done, seconds))
    return 1 if any(each.failures for each in done) else 0


def _all(
    tier: Tier,
    names: Iterable[str],
    seed: int,
    scale: float,
    lanes: int,
    say: Callable[[str], None],
) -> Iterable[Done]:
    """In the order of ``ROWS``; the longest begin first."""
    longest_first = sorted(names, key=list(LONGEST_S).index)
    with ThreadPoolExecutor(max_workers=max(1, lanes)) as pool:
        running = {
            name: pool.submit(_one, name, tier, ROWS[name].amount(tier) * scale, seed, say)
            for name in longest_first
        }
        return [running[name].result() for name in ROWS if name in running]


def _one(name: str, tier: Tier, amount: float, seed: int, say: Callable[[str], None]) -> Done:
    say(f"{name}: begins, {amount:g} {ROWS[name].unit}")
    command = [sys.executable, "-m", "tests.proof.one", name]
    command += ["--amount", str(amount), "--seed", str(seed)]
    limit_s = LONGEST_S[name] * max(1.0, amount / ROWS[name].commit)
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True)
        watchdog = threading.Timer(limit_s, process.kill)
        watchdog.start()
        assert process.stderr is not None
        last, told = "", time.monotonic()
        for line in process.stderr:
            last = line.strip() or last
            if time.monotonic() - told > _TELL_EVERY_S:
                told = time.monotonic()
                say(f"{name}: {last}")
        status = process.wait()
        process.stderr.close()
        watchdog.cancel()
        out.seek(0)
        text = out.read()
    report: PartReport | None
    try:
        report = read(text.splitlines()[-1])
    except (IndexError, ValueError, TypeError):
        report = None
    if report is None:
        why = f"ended with status {status} without a report: {last[-_LAST_MAX:]}"
        failures = [
            why if status != -9 else f"took longer than {limit_s:.0f} s: {last[-_LAST_MAX:]}"
        ]
    else:
        failures = report.failures(amount)
    say(f"{name}: FAILED: {failures[0]}" if failures else f"{name}: passed")
    return Done(name=name, amount=amount, report=report, failures=failures)


def _to_stdout(line: str) -> None:
    with _print_lock:
        print(line, flush=True)


def _to_stderr(line: str) -> None:
    with _print_lock:
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
