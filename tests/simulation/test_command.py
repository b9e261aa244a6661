"""``kms sim`` as an operator runs it."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest


def sim(*arguments: str, hash_seed: str = "0") -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "kms.cli", "sim", "--json", "--jobs", "1", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


@pytest.mark.slow
def test_a_seed_is_the_same_history_whatever_the_hash_seed_and_another_seed_another_one() -> None:
    runs = [
        sim("--seed", seed, "--hours", "0.25", hash_seed=hashes)
        for seed, hashes in (("3", "1"), ("3", "2"), ("4", "1"))
    ]

    assert [0, 0, 0] == [status for status, _, _ in runs]
    one, same, other = (fields["trace_hash"] for _, fields, _ in runs)
    assert one == same
    assert one != other
    fields = runs[0][1]
    assert fields["violations"] == []
    assert fields["simulated_hours"] == 0.25
    for count in ("events", "events_per_second", "served"):
        assert fields[count]
    assert {f"I{number}" for number in range(1, 14)} == set(fields["checks"])
    assert fields["measured"]["from healed to agreed, longest, ms"] < 30_000
    assert fields["measured"]["most streams"] > 0


@pytest.mark.slow
def test_a_fault_that_was_hardly_tried_fails_the_run() -> None:
    status, fields, _ = sim("--seed", "3", "--hours", "0.25", "--least", "100000")

    assert status == 1
    assert "kill -9" in fields["seldom"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--hours", "0"), "0.0 simulated hours"),
        (("--hours", "1e9"), "simulated hours"),
        (("--seeds", "0"), "0 seeds"),
        (("--topology", "nowhere.toml"), "nowhere.toml"),
        (("--seed", "one"), "seed"),
    ],
)
def test_what_cannot_be_simulated_is_refused_by_name(
    arguments: tuple[str, ...], sentence: str
) -> None:
    status, fields, said = sim(*arguments)

    assert status != 0
    assert fields == {}
    assert sentence in said
    assert "Traceback" not in said
