"""Every input of the committed corpus, without a fuzzer: what was found once stays found."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from tests.fuzz import TARGETS
from tests.fuzz.script import STEPS_MAX, scripted, steps
from tests.fuzz.seeds import CORPUS, FILE_BYTES_MAX, write


def one_input(target: str) -> Callable[[bytes], None]:
    found: Callable[[bytes], None] = import_module(f"tests.fuzz.{target}").one_input
    return found


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_the_corpus_breaks_anything(target: str) -> None:
    files = sorted((CORPUS / target).iterdir())

    assert 15 <= len(files) <= 200
    for file in files:
        data = file.read_bytes()

        assert len(data) <= FILE_BYTES_MAX, file.name
        one_input(target)(data)


@pytest.mark.parametrize("target", TARGETS)
def test_inputs_of_no_meaning_break_nothing(target: str) -> None:
    for data in (b"", b"\0", b"\xff" * 3, bytes(100), bytes(range(256)), b"\x03" * 64):
        one_input(target)(data)


@pytest.mark.slow
def test_the_corpus_can_be_made_anew(tmp_path: Path) -> None:
    """Its seeds follow the protocol: when that changes, the script writes others."""
    write(tmp_path)

    for target in TARGETS:
        made = list((tmp_path / target).glob("seed-*"))
        assert 15 <= len(made) <= 200, target


def test_a_script_reads_as_it_was_written() -> None:
    done = [(1, b"abc"), (255, b""), (7, bytes(300))]

    assert done == list(steps(scripted(done)))
    assert STEPS_MAX == len(list(steps(scripted([(0, b"")] * 100))))
