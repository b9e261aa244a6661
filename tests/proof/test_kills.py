"""What the kill loop must find: planted mistakes in real nodes, and in what was written down."""

import subprocess
import sys
from collections import Counter
from math import inf
from pathlib import Path
from random import Random
from uuid import UUID

import attrs
import pytest
from trio import TooSlowError
from trio.testing import MockClock

from kms.client import QoS, QoSNotMet
from kms.demo.processes import Processes
from kms.domain.direction import Direction
from kms.domain.lifecycle import KeyState
from kms.domain.names import KSID, LinkId, link_id, node_id
from kms.domain.records import KeyRunRecord, LinkRecord, LinkState, PadRecord, Record
from kms.domain.statistics import LinkStatus, PadStatus
from tests.processes import stores
from tests.processes.misfortune import KILLS, Kind, Marks, dealt, least
from tests.processes.network import ALICE, BOB
from tests.processes.readers import Ledger, reused, violations
from tests.proof import kills

LINK: LinkId = link_id(node_id(ALICE), node_id(BOB))
KEYS = {index: bytes([index]) * 32 for index in range(1, 4)}


# ---- planted in real nodes ------------------------------------------------------------------


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("mistake", "begins", "words"),
    [("different", "I2", "is another key"), ("forgets", "I5", "as never delivered")],
)
def test_a_mistake_planted_in_the_nodes_is_found(
    monkeypatch: pytest.MonkeyPatch, mistake: str, begins: str, words: str
) -> None:
    def planted(self: Processes, name: str, command: str, config: Path) -> None:
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.processes.planted", mistake, command, config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    monkeypatch.setattr(Processes, "_start", planted)
    found = kills.run(1, 1, lambda _: None).violations

    assert any(each.startswith(begins) and words in each for each in found), found[:5]
    assert all(each.endswith("again: tests.proof.kills.run(1, 1, print)") for each in found)


class _Refusing:
    """A node's counter on a link that has no measured rate yet: so many openings are refused."""

    def __init__(self, refusals: float) -> None:
        self.refusals = refusals

    async def open(self, **_: object) -> str:
        if self.refusals > 0:
            self.refusals -= 1
            raise QoSNotMet("the link can promise 1840 bit/s more", QoS())
        return "the stream"


async def test_a_stream_that_the_link_cannot_promise_yet_is_asked_for_until_it_is_admitted(
    autojump_clock: MockClock,
) -> None:
    opened: object = await kills._admitted(_Refusing(9), "", "", QoS(min_bps=2_000))  # type: ignore[arg-type]

    assert opened == "the stream"


async def test_a_stream_that_is_never_admitted_ends_the_run(autojump_clock: MockClock) -> None:
    with pytest.raises(TooSlowError):
        await kills._admitted(_Refusing(inf), "", "", QoS(min_bps=2_000))  # type: ignore[arg-type]


@pytest.mark.parametrize("kills", [1, 3, 8, 9, 16, 20, 60, 600])
def test_what_is_dealt_has_so_many_kills_and_enough_of_every_kind(kills: int) -> None:
    for seed in range(20):
        deck = Counter(dealt(kills, Random(seed)))

        assert kills == sum(deck[kind] for kind in KILLS)
        assert min(deck[kind] for kind in Kind) >= least(kills)
    assert (kills >= 9) == (least(kills) > 0)


# ---- planted in what was written down -------------------------------------------------------


def _ledgers() -> tuple[Ledger, Ledger]:
    return Ledger(keys=dict(KEYS)), Ledger(keys=dict(KEYS))


def test_ledgers_that_fit_show_nothing() -> None:
    here, there = _ledgers()
    del here.keys[1], here.keys[2], there.keys[2]
    here.unanswered.add(1)
    here.gone = {1: "index 1 was delivered already", 2: "index 2 is destroyed: lost when"}
    there.gone = {2: "index 2 is destroyed: lost when"}

    assert violations("s", here, there) == []


def test_a_key_delivered_twice_is_found() -> None:
    here, there = _ledgers()
    here.write(1, KEYS[1])

    assert violations("s", here, there) == ["I2 s: index 1 was delivered twice"]


def test_a_key_that_one_got_and_the_other_lost_is_found() -> None:
    here, there = _ledgers()
    del there.keys[2]
    there.gone[2] = "index 2 is destroyed: lost when an end restarted"

    assert [each[:4] for each in violations("s", here, there)] == ["I5 s"]


def test_a_key_that_went_to_nobody_knows_whom_is_found() -> None:
    here, there = _ledgers()
    del there.keys[2]
    there.gone[2] = "index 2 was delivered already"

    assert [each[:4] for each in violations("s", here, there)] == ["I5 s"]


def test_pad_used_twice_is_found_wherever_the_ranges_overlap() -> None:
    pad = bytes(range(200))
    apart = {"one": [pad[:64]], "two": [pad[64:96], pad[96:128]]}
    same = {"one": [pad[:64]], "two": [pad[:32]]}
    inside = {"one": [pad[:64]], "two": [pad[48:80]]}

    assert reused(apart) == []
    assert reused(same) == ["I1 two 0 begins as one 0"]
    assert reused(inside) == ["I1 two 0 begins inside one 0, at byte 48"]


def _link(epoch: int, mark: int, granted: int) -> LinkStatus:
    pad = PadStatus(mark=mark, granted=granted, end=1000)
    return LinkStatus(
        link=LINK,
        peer=node_id(BOB),
        state="open",
        epoch=epoch,
        connected=True,
        up=True,
        rate_in_bps=0.0,
        outgoing=pad,
        incoming=PadStatus(mark=0, granted=0, end=0),
        reserve_bytes=0,
    )


@pytest.mark.parametrize(
    ("after", "words"),
    [((2, 99, 200), "the mark"), ((2, 100, 199), "the grant"), ((1, 100, 200), "the epoch")],
)
def test_a_mark_a_grant_or_an_epoch_that_falls_is_found(
    after: tuple[int, int, int], words: str
) -> None:
    marks = Marks()
    marks.look(ALICE, _link(2, 100, 200))
    before = list(marks.violations)
    marks.look(ALICE, _link(*after))

    assert before == []
    assert marks.violations[0].startswith(f"I1 {words} of alice")


def test_a_new_epoch_may_begin_anywhere() -> None:
    marks = Marks()
    marks.look(ALICE, _link(2, 100, 200))
    marks.look(ALICE, _link(3, 0, 0))

    assert marks.violations == []


def _pads(written: int, read: int) -> dict[str, list[Record]]:
    def end(granted: int) -> list[Record]:
        pad = PadRecord(
            link=LINK, direction=Direction.FROM_LEADER, granted=granted, confirmed=0, end=1000
        )
        other = attrs.evolve(pad, direction=Direction.TO_LEADER, granted=0)
        return [LinkRecord(link=LINK, state=LinkState.OPEN, epoch=1), pad, other]

    return {ALICE: end(written), BOB: end(read)}


def test_a_writer_beyond_its_readers_grant_is_found() -> None:
    assert stores.pads_disagree(_pads(100, 100)) == []
    assert stores.pads_disagree(_pads(101, 100)) == [
        "I1 alice used up to 101, bob granted 100 only"
    ]


def test_a_delivered_key_that_the_store_would_deliver_again_is_found() -> None:
    ksid = KSID(UUID(int=1))
    run = KeyRunRecord(
        ksid=ksid,
        first=2,
        count=2,
        state=KeyState.PRE_ACTIVATION,
        material=None,
        material_first=2,
        created_ms=0,
        expires_ms=None,
        since_ms=0,
        reason="",
    )
    gone = attrs.evolve(run, state=KeyState.DESTROYED)

    assert stores.still_deliverable(ALICE, [gone], {ksid: [1, 2, 3]}) == []
    assert len(stores.still_deliverable(ALICE, [run], {ksid: [1, 2, 3]})) == 2


def test_a_key_in_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "wal").write_bytes(b"x" * 999 + KEYS[1] + b"y")

    assert stores.readable(tmp_path, [KEYS[2]]) == []
    assert stores.readable(tmp_path, [KEYS[1]]) == ["I6 a key lies in wal"]
