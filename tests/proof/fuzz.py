"""Fuzzing by atheris: each target of tests/fuzz, in a process of its own, for so many seconds (I9).

Theory of operation. libFuzzer begins with the committed corpus and puts what it finds interesting
into a directory that goes away. A crash, a time-out or too much memory ends a target's process and
leaves the input in a file, which is shown in hex: put it under tests/fuzz/corpus/TARGET and it is
tried with every commit. How many inputs are tried depends on the machine, so a seed does not mean
the same inputs everywhere; an input means the same everywhere.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from tests.fuzz import TARGETS
from tests.proof.report import PartReport, Tell

CORPUS: Final = Path("tests/fuzz/corpus")
ROOT: Final = Path(__file__).parent.parent.parent
# Beside two of them the machine has nothing left to give.
AT_ONCE: Final = 2
# One input: the slowest committed one takes some 0.1 s on a busy machine.
UNIT_TIMEOUT_S: Final = 30
MEMORY_MIB_MAX: Final = 1024
# A target that neither ends nor crashes is at fault, this long after its time.
GRACE_S: Final = 120
# Of one crashing input; committed ones are smaller.
SHOWN_BYTES_MAX: Final = 2048
# Less, and the target was not tried.
INPUTS_MIN: Final = 20
_UNITS: Final = re.compile(rb"stat::number_of_executed_units:\s*(\d+)")
_RUNS: Final = re.compile(rb"^#(\d+)\s", re.MULTILINE)


@attrs.frozen(kw_only=True)
class Fuzzed:
    """One target's run."""

    target: str
    inputs: int
    seconds: float
    violation: str = ""


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """Each target for ``amount`` seconds."""
    return run_targets(TARGETS, amount, seed, tell)


def run_targets(
    targets: Sequence[str],
    amount: float,
    seed: int,
    tell: Tell,
    environment: Mapping[str, str] | None = None,
) -> PartReport:
    """``environment``: what the targets' processes have beside ours."""
    started = time.perf_counter()
    env = {**os.environ, **(environment or {})}

    def one(target: str) -> Fuzzed:
        fuzzed = _fuzz(target, amount, seed, env)
        tell(f"{target}: {fuzzed.inputs} inputs in {fuzzed.seconds:.0f} s {fuzzed.violation[:80]}")
        return fuzzed

    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(one, targets))
    return PartReport(
        part="fuzz",
        invariants=("I9",),
        seed=seed,
        made={
            "seconds per target": min(each.seconds for each in done),
            **{f"inputs of {each.target}": each.inputs for each in done},
        },
        checks=sum(each.inputs for each in done),
        faults={f"inputs of {each.target}": each.inputs for each in done},
        faults_min=INPUTS_MIN,
        violations=tuple(each.violation for each in done if each.violation),
        seconds=time.perf_counter() - started,
    )


def _fuzz(target: str, amount: float, seed: int, env: Mapping[str, str]) -> Fuzzed:
    started = time.perf_counter()
    with TemporaryDirectory(prefix="kms-fuzz-") as name:
        place = Path(name)
        (place / "new").mkdir()
        command = [
            *(sys.executable, "-m", f"tests.fuzz.{target}"),
            *(str(place / "new"), str(CORPUS / target)),
            f"-max_total_time={max(1, round(amount))}",
            # 0 would mean: any.
            f"-seed={seed + 1}",
            f"-timeout={UNIT_TIMEOUT_S}",
            f"-rss_limit_mb={MEMORY_MIB_MAX}",
            f"-artifact_prefix={place}/",
            "-print_final_stats=1",
        ]
        output = place / "output"
        ended: int | None = None
        # Out of time it is killed and waited for; what it had said is in the file.
        with output.open("wb") as file, suppress(subprocess.TimeoutExpired):
            ended = subprocess.run(
                command,
                cwd=ROOT,
                env=dict(env),
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=amount + GRACE_S,
                check=False,
            ).returncode
        said = output.read_bytes()
        return Fuzzed(
            target=target,
            inputs=_inputs(said),
            seconds=time.perf_counter() - started,
            violation="" if ended == 0 else _violation(target, ended, place, said),
        )


def _inputs(said: bytes) -> int:
    """As libFuzzer counts them; what it said last, if it came to no count."""
    found = _UNITS.findall(said) or _RUNS.findall(said)
    return int(found[-1]) if found else 0


def _violation(target: str, ended: int | None, place: Path, said: bytes) -> str:
    left = sorted(each for each in place.iterdir() if each.is_file() and "-" in each.name)
    why = _last_error(said) if ended is not None else "it did not end in time"
    if not left:
        return f"I9 {target} ended with {ended}: {why}; again: python -m tests.fuzz.{target} CORPUS"
    data = left[0].read_bytes()
    shown = data[:SHOWN_BYTES_MAX].hex()
    more = "" if len(data) <= SHOWN_BYTES_MAX else f"... of {len(data)} B"
    return (
        f"I9 {target} {left[0].name.split('-')[0]}: {why}; input {shown}{more}; again: "
        f"echo {shown} | xxd -r -p > input; python -m tests.fuzz.{target} input"
    )


def _last_error(said: bytes) -> str:
    """The exception's own line, or libFuzzer's."""
    lines = said.decode("utf-8", "backslashreplace").splitlines()
    named = re.compile(r"^(\w+(\.\w+)*(Error|Exception|Fault)|AssertionError)\b|^ERROR:|ERROR: lib")
    found = [line for line in lines if named.search(line)]
    return (found[0] if found else "no word of why")[:300]
