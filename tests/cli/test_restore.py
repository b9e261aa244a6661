"""``kms restore``: what was found is shown first, and nothing is done without a word."""

import json
from pathlib import Path

import attrs
import pytest
import trio

from kms.domain.names import LinkId
from kms.domain.records import Way
from kms.domain.statistics import NodeState, StakeStatus, StandingStatus
from tests.cli.fake_node import STATUS, FakeNode
from tests.cli.test_cli import command, file, node

__all__ = ["file", "node"]

FOUND = StandingStatus(
    ground="old",
    reason="this store is an old copy: generation 13, and the witness has seen 28",
    generation=13,
    written_ms=1_700_000_000_000,
    witnessed_generation=28,
    witnessed_ms=1_700_000_360_000,
    links=(StakeStatus(link=LinkId("A~B"), pad_bytes=70_000, held_blocks=2, streams=3),),
)


def stand(node: FakeNode, found: StandingStatus = FOUND) -> None:
    node.shown = attrs.evolve(STATUS, state=NodeState.STANDING, standing=found, why=(found.reason,))


async def test_without_yes_it_shows_what_was_found_and_what_it_costs_and_changes_nothing(
    node: FakeNode, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand(node)
    status = await command("restore", file)
    shown = capsys.readouterr().out

    assert (0, []) == (status, node.told)
    for said in ("generation 13", "2023-11-14 22:13:20", "28", "22:19:20", "70000", "3 streams"):
        assert said in shown, said
    assert "--yes" in shown


@pytest.mark.parametrize(
    ("words", "way"), [(["--yes"], Way.BURN), (["--yes", "--ask-peers"], Way.ASK_PEERS)]
)
async def test_with_yes_the_node_is_told_the_way(
    node: FakeNode, file: Path, words: list[str], way: Way, capsys: pytest.CaptureFixture[str]
) -> None:
    stand(node)
    status = await command("restore", file, *words)

    assert (0, [("restore", way)]) == (status, node.told)
    assert "done" in capsys.readouterr().out


async def test_json_says_what_was_found_and_whether_it_was_done(
    node: FakeNode, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand(node)
    await command("restore", file, "--json")
    fields = json.loads(capsys.readouterr().out)

    assert ("A", "burn", False, "standing") == tuple(
        fields[name] for name in ("node", "way", "restored", "state")
    )
    assert fields["found"]["witnessed_generation"] == 28
    assert fields["found"]["links"] == [
        {"link": "A~B", "pad_bytes": 70_000, "held_blocks": 2, "streams": 3}
    ]


async def test_a_witness_that_says_nothing_is_shown_as_that(
    node: FakeNode, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "this store is not new and its witness says nothing: it is empty"
    stand(
        node,
        attrs.evolve(
            FOUND, ground="unknown", reason=reason, witnessed_generation=None, witnessed_ms=None
        ),
    )
    await command("restore", file)
    shown = capsys.readouterr().out

    assert "says nothing" in shown
    assert "witness: generation" not in shown


async def test_a_node_that_does_not_stand_is_left_alone(
    node: FakeNode, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = await command("restore", file, "--yes")

    assert (1, []) == (status, node.told)
    assert "does not stand" in capsys.readouterr().err


async def test_a_way_that_nobody_knows_is_refused(node: FakeNode, file: Path) -> None:
    from kms.adapters.operations.admin_client import AdminClient
    from kms.config import load
    from kms.domain.errors import LocalFault

    stand(node)
    counter = AdminClient(load(file).admin_socket)
    for way in (b"", b"burn ", b"BURN", b"\xff" * 100):
        with pytest.raises(LocalFault, match="no such way"):
            await trio.to_thread.run_sync(counter.post, "/restore", way)

    assert [] == node.told
