"""Every input of the committed corpus, without a fuzzer: what was found once stays found."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import msgspec
import pytest

from kms.adapters.etsi014_http import answering
from kms.domain.deckeys import Claiming
from kms.domain.events import Asked
from kms.domain.handout import HandOut
from kms.domain.keyrequests import DecKeys
from kms.domain.link import Link
from kms.domain.names import NodeId
from kms.domain.outbox import Outbox
from kms.domain.secret import Secret
from tests.fuzz import TARGETS, keys, peer_frames
from tests.fuzz.copies import Besieged
from tests.fuzz.script import STEPS_MAX, scripted, steps
from tests.fuzz.seeds import CORPUS, FILE_BYTES_MAX, write
from tests.siege import Siege
from tests.statehash import state_hash
from tests.world import ALICE, BEN, BOB, LINK


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


@pytest.mark.slow
def test_the_corpus_of_keys_has_every_answer_of_the_standard() -> None:
    """Or nothing but refusals would be bent."""
    files = (CORPUS / "keys").iterdir()
    found = {keys.asked(file.read_bytes()) for file in files}
    wanted = {(b"enc_keys", status) for status in (200, 400, 503)}
    wanted |= {(b"dec_keys", status) for status in (200, 400, 401)}

    assert wanted | {(b"status", 200), (b"", 404)} <= found


def test_state_that_a_request_for_keys_changes_before_it_is_refused_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: who asks for another's key is remembered."""
    real = Claiming.asked

    def leaky(claiming: Claiming, event: Asked, request: DecKeys, out: Outbox) -> None:
        claiming._register.directory = {**claiming._register.directory, request.master: ALICE}
        real(claiming, event, request, out)

    monkeypatch.setattr(Claiming, "asked", leaky)
    one_input("keys")(ask_for("@0"))  # what is served may change something

    with pytest.raises(AssertionError, match="I9 a refused request changes nothing"):
        one_input("keys")(ask_for("@8"))


def test_keys_that_are_answered_under_each_others_ids_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: those of one request are answered last key first."""
    real = answering.container

    def turned(key_ids: bytes, found: Secret) -> bytes:
        first, second = key_ids[:16], key_ids[16:]
        return real(second + first, found)

    one_input("keys")(ask_for("@0", "@3"))
    monkeypatch.setattr(answering, "container", turned)

    with pytest.raises(AssertionError, match="each key under its ID"):
        one_input("keys")(ask_for("@0", "@3"))


@pytest.mark.parametrize(("forgets", "key"), [("_move", "@0"), ("_take", "@5")])
def test_a_key_that_is_given_twice_is_found(
    forgets: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the node forgets what it has given, of a pair or of a bundle."""
    monkeypatch.setattr(HandOut, forgets, lambda *_: None)

    with pytest.raises(AssertionError, match="I2 once"):
        one_input("keys")(ask_for(key))


def ask_for(*names: str) -> bytes:
    """Keys that ben was given for ann, asked for by her."""
    body = {"key_IDs": [{"key_ID": name} for name in names]}
    return b"\1" + BEN.encode() + b"\n" + msgspec.json.encode(body)


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
