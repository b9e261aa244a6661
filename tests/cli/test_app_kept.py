"""``kms app get`` keeps what it fetched: a key is spent when it comes, whatever ends the wait."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import trio

from kms.cli.application.output_file import new_file
from kms.cli.application.showing import Fetched, show
from tests.cli.app_world import AppWorld, app_world


@pytest.fixture
async def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[AppWorld]:
    async with app_world(tmp_path, capsys) as made:
        yield made


async def _with_a_reader_who_leaves(world: AppWorld, *words: object) -> str:
    """As ``kms app get ... | head -c 1`` does; what is said on stderr."""
    demo = ("--demo", world.directory, "--as", "alice", "--wait", "0.2")
    command = [sys.executable, "-m", "kms.cli", "app", "get", *map(str, (*words, *demo))]
    async with trio.open_nursery() as nursery:
        start = partial(trio.run_process, command, stdout=subprocess.PIPE, check=False)
        process = await nursery.start(partial(start, stderr=subprocess.PIPE))
        await process.stdout.receive_some(1)
        await process.stdout.aclose()
        said: str = (await process.stderr.receive_some()).decode()
    return said


@pytest.mark.slow
async def test_keys_whose_lines_nobody_reads_are_in_their_file(
    world: AppWorld, tmp_path: Path
) -> None:
    ksid, file = await world.stream(), tmp_path / "keys"
    words = ("--ksid", ksid, "--count", 50, "--output", file)

    said = await _with_a_reader_who_leaves(world, *words)

    delivered = len(world.northbound.delivered)
    assert "nobody reads the standard output any more" in said
    assert 1 <= delivered < 50
    assert 32 * delivered == len(file.read_bytes())


@pytest.mark.slow
async def test_all_keys_with_ids_that_came_are_in_their_file_though_nobody_reads(
    world: AppWorld, tmp_path: Path
) -> None:
    """They come by the dozen: those behind the first line that nobody reads are spent as well."""
    file = tmp_path / "keys"

    said = await _with_a_reader_who_leaves(world, "--count", 5000, "--output", file)

    spent = b"".join(each.bits for each in world.kme.keys.values())
    assert "nobody reads the standard output any more" in said
    assert 0 < len(spent) < 5000 * 32
    assert spent == file.read_bytes()


def _keys(*names: int) -> list[Fetched]:
    return [Fetched(name={"index": name}, bits=bytearray([name]) * 32) for name in names]


@pytest.mark.parametrize("as_json", [False, True])
def test_keys_that_came_before_ctrl_c_are_shown_and_their_file_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    def two() -> Iterator[list[Fetched]]:
        yield _keys(0)
        yield _keys(1)
        raise KeyboardInterrupt

    with new_file(tmp_path / "keys", force=False) as file:
        ends = show(two(), file, None, as_json=as_json)

    assert isinstance(ends, KeyboardInterrupt)
    assert bytes([0]) * 32 + bytes([1]) * 32 == (tmp_path / "keys").read_bytes()
    assert 2 == _shown(capsys, as_json)


class Disturbed(BytesIO):
    """Somebody presses Ctrl-C, or stops us, while a key is written."""

    def __init__(self, number: signal.Signals, times: int) -> None:
        super().__init__()
        self._number, self._times = number, times

    def write(self, data: Any, /) -> int:
        if self._times:
            self._times -= 1
            signal.raise_signal(self._number)
        return super().write(data)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_keys_of_one_answer_are_all_kept_though_a_signal_comes_meanwhile(
    capsys: pytest.CaptureFixture[str], number: signal.Signals, as_json: bool
) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    file, fetched = Disturbed(number, times=1), [_keys(0, 1, 2), _keys(3)]
    ends = show(iter(fetched), file, None, as_json=as_json)

    assert isinstance(ends, KeyboardInterrupt)
    assert 3 * 32 == len(file.getvalue())
    assert 3 == _shown(capsys, as_json)
    assert [bytearray(32)] * 3 == [key.bits for key in fetched[0]]
    assert before == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]


def test_who_presses_ctrl_c_twice_does_not_wait() -> None:
    """Keys are wiped all the same."""
    fetched = _keys(0, 1, 2)
    with pytest.raises(KeyboardInterrupt):
        show(iter([fetched]), Disturbed(signal.SIGINT, times=2), None, as_json=False)

    assert [bytearray(32)] * 3 == [key.bits for key in fetched]


def test_ctrl_c_before_the_first_key_leaves_nothing() -> None:
    def none() -> Iterator[list[Fetched]]:
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        show(none(), None, None, as_json=True)


def _shown(capsys: pytest.CaptureFixture[str], as_json: bool) -> int:
    out = capsys.readouterr().out
    return len(json.loads(out)["keys"]) if as_json else len(out.splitlines())
