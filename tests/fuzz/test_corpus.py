"""Every input of the committed corpus, without a fuzzer: what was found once stays found."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from kms.domain.link import Link
from kms.domain.names import NodeId
from kms.domain.outbox import Outbox
from tests.fuzz import TARGETS, peer_frames
from tests.fuzz.copies import Besieged
from tests.fuzz.script import STEPS_MAX, scripted, steps
from tests.fuzz.seeds import CORPUS, FILE_BYTES_MAX, write
from tests.siege import Siege
from tests.statehash import state_hash
from tests.world import ALICE, BOB, LINK


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


@pytest.mark.slow
def test_the_whole_state_is_as_it_was_after_every_frame_of_the_corpus_that_does_not_verify() -> (
    None
):
    """The fuzzer compares it for some of its inputs; here it is compared for all."""
    for file in sorted((CORPUS / "peer_frames").iterdir()):
        peer_frames.play(file.read_bytes(), hashed=True)


@pytest.mark.slow
def test_state_that_a_frame_changes_before_it_verifies_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted where nobody looks but the hash: each frame that comes leaves a word."""
    real = Link.on_frame

    def leaky(link: Link, session: int, data: bytes, out: Outbox) -> None:
        link.memory.reason += "."
        real(link, session, data, out)

    monkeypatch.setattr(Link, "on_frame", leaky)
    forged = b"\0" + scripted([(peer_frames.FORGED, bytes([n])) for n in range(3)])

    with pytest.raises(AssertionError, match="I9 what did not verify changes state"):
        peer_frames.play(forged, hashed=True)


@pytest.mark.parametrize("victim", [ALICE, BOB])
def test_a_thawed_node_is_the_one_that_was_frozen(victim: NodeId) -> None:
    frozen, one, other = Siege(victim).node, Besieged(victim).node, Besieged(victim).node

    assert state_hash(frozen) == state_hash(one) == state_hash(other)
    assert one.links[LINK] is not other.links[LINK]


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
