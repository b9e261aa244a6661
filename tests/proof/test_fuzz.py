"""The part that fuzzes: it counts what libFuzzer tried, and tells what crashed (I9)."""

import pytest

from tests.fuzz import TARGETS
from tests.fuzz.engine import PLANT
from tests.fuzz.test_corpus import one_input
from tests.proof.fuzz import CORPUS, ROOT, _inputs, run_targets


def quiet(line: str) -> None:
    pass


@pytest.mark.slow
def test_a_target_is_fuzzed_for_as_long_as_was_asked() -> None:
    report = run_targets(("application",), 1, 1, quiet)

    assert [] == report.failures(1)
    assert report.made["inputs of application"] > 50


@pytest.mark.slow
@pytest.mark.parametrize("target", ["application", "keys"])
def test_a_planted_bug_is_found_and_its_input_told(target: str) -> None:
    report = run_targets((target,), 90, 1, quiet, {PLANT: "1"})

    assert 1 == len(report.violations)
    said = report.violations[0]
    assert said.startswith(f"I9 {target} crash: ")
    # Of keys, by the word of a desk that contains it.
    assert "ZeroDivisionError" in said
    assert "planted" in said
    assert report.failures(90)
    # The input is whole, and right code takes it.
    one_input(target)(bytes.fromhex(said.split("input ")[1].split(";")[0]))


def test_a_process_that_came_to_no_count_is_counted_by_what_it_said_last() -> None:
    assert 0 == _inputs(b"")
    assert 512 == _inputs(b"#256\tpulse\n#512\tNEW\n==1== ERROR: libFuzzer")
    assert 7 == _inputs(b"#256\tpulse\nstat::number_of_executed_units: 7\n")


def test_every_target_has_a_corpus() -> None:
    for target in TARGETS:
        assert (ROOT / CORPUS / target).is_dir()
