"""network.toml: each wrong file is told with its place, and a bad one changes nothing."""

from pathlib import Path

import pytest
import trio
from structlog.testing import CapturingLogger

from kms.adapters import sdn_file
from kms.adapters.sdn_file import SDNFile, load_network
from kms.domain.errors import LocalFault
from kms.domain.names import NodeId, SAEId
from kms.domain.policy import Rule, Share
from kms.ports.sdn import Network
from tests.config.site import NETWORK

ALLOW = 'other = "sae:*.B"\n'
WRONG = (
    ("an unclosed list", '["A", "B"]\nlinks', '["A", "B"\nlinks', "line 2"),
    ("no nodes", 'nodes = ["A", "B"]', "", "nodes: missing"),
    ("a text as nodes", 'nodes = ["A", "B"]', 'nodes = "AB"', "nodes: 'AB' is not a list"),
    ("a bad node", '"B"]\nlinks', '"B!"]\nlinks', "nodes.2: 'B!' is not a node"),
    ("a node twice", '"B"]\nlinks', '"B", "A"]\nlinks', "nodes.3: A is listed twice"),
    ("a link of three", '[["A", "B"]]', '[["A", "B", "B"]]', "links.1: ['A', 'B', 'B'] is not"),
    ("a link as text", '[["A", "B"]]', '["AB"]', "links.1: 'AB' is not a link"),
    ("a link to itself", '[["A", "B"]]', '[["A", "A"]]', "links.1: A is linked to itself"),
    ("a link twice", '[["A", "B"]]', '[["A", "B"], ["B", "A"]]', "links.2: B-A is already links.1"),
    ("a link to nowhere", '[["A", "B"]]', '[["A", "C"]]', "links.1: C is not in nodes"),
    ("an application nowhere", 'node = "B"', 'node = "C"', "[application.2] node: C is not in"),
    (
        "an application twice",
        "camera.B",
        "camera.A",
        "[application.2] sae: sae:camera.A is already",
    ),
    ("no name", "sae:camera.B", "a camera", "[application.2] sae: 'a camera' is not a"),
    ("a misspelt field", "other =", "others =", "[allow.1] others: unknown"),
    ("a missing field", 'other = "sae:*.B"', "", "[allow.1] other: missing"),
    ("a rule for nobody", "sae:*.A", " ", "[allow.1] one: ' ' matches no application"),
    ("a rule at no node", ALLOW, ALLOW + 'at = "C"\n', "[allow.1] at: C is not in nodes"),
    ("a rate of nothing", ALLOW, ALLOW + "max_bps = 0\n", "[allow.1] max_bps: 0 is not between"),
    ("a rate as text", ALLOW, ALLOW + 'max_bps = "1"\n', "[allow.1] max_bps: '1' is not a whole"),
    ("half a rate", ALLOW, ALLOW + "max_bps = 0.5\n", "[allow.1] max_bps: 0.5 is not a whole"),
    ("a share of no rate", ALLOW, ALLOW + 'per = "rule"\n', "[allow.1] per: says nothing without"),
    ("a strange share", ALLOW, ALLOW + 'max_bps = 1\nper = "day"\n', "[allow.1] per: 'day' is not"),
    ("a short fingerprint", "revoked = []", 'revoked = ["00"]', "[policy] revoked.1: '00' is not"),
    ("a list as policy", "[policy]", "[[policy]]", "policy: a list where one table"),
)


@pytest.mark.parametrize(("story", "old", "new", "says"), WRONG, ids=[row[0] for row in WRONG])
def test_a_wrong_network_is_refused_with_its_place(
    tmp_path: Path, story: str, old: str, new: str, says: str
) -> None:
    path = tmp_path / "network.toml"
    assert old in NETWORK, "the table of this test"
    path.write_text(NETWORK.replace(old, new, 1))

    with pytest.raises(LocalFault) as refusal:
        load_network(path)

    assert f"{path}: {says}" in refusal.value.reason


def test_a_rule_says_where_and_how_fast(tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    path.write_text(NETWORK.replace(ALLOW, ALLOW + 'at = "A"\nmax_bps = 8000\nper = "rule"\n'))
    rule = Rule(one="sae:*.A", other="sae:*.B", at=NodeId("A"), max_bps=8000, per=Share.RULE)

    assert load_network(path).policy.rules == (rule,)


def test_a_rule_without_more_is_for_both_nodes_and_any_rate(tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    path.write_text(NETWORK)

    assert load_network(path).policy.rules == (Rule(one="sae:*.A", other="sae:*.B"),)


def test_applications_and_rules_may_have_bare_names(tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    path.write_text(NETWORK.replace("sae:camera.A", "Camera_1").replace("sae:*.A", "Camera_?"))
    network = load_network(path)

    assert network.directory[SAEId("Camera_1")] == "A"
    assert network.policy.may_share(SAEId("Camera_1"), SAEId("sae:camera.B"))


def test_links_are_the_same_whichever_end_is_written_first(tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    path.write_text(NETWORK.replace('[["A", "B"]]', '[["B", "A"]]'))

    assert load_network(path).links == {("A", "B")}


def test_a_fingerprint_may_be_spelt_as_openssl_prints_it(tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    path.write_text(NETWORK.replace("revoked = []", f'revoked = ["{":".join(["AB"] * 32)}"]'))

    assert load_network(path).policy.revoked == {"ab" * 32}


async def test_a_bad_file_is_logged_once_and_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    path.write_text(NETWORK)
    fresh = tmp_path / "network.toml.new"
    log = CapturingLogger()
    sdn = SDNFile(path, log=log, poll_s=0.001)
    await sdn.network()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sdn.changed)
        for number, text in enumerate(("nodes = [", "nodes = 'A'"), 1):
            fresh.write_text(text)
            fresh.replace(path)
            while len(log.calls) < number:
                await trio.sleep(0.001)
            await trio.sleep(0.02)
            assert len(log.calls) == number
        nursery.cancel_scope.cancel()

    assert {call.args for call in log.calls} == {("network-file-refused",)}
    assert str(path) in log.calls[0].kwargs["reason"]


async def test_reload_looks_at_once_and_says_what_is_wrong(tmp_path: Path) -> None:
    """With a poll that never comes, only ``reload`` can end the wait."""
    path = tmp_path / "network.toml"
    path.write_text(NETWORK)
    sdn = SDNFile(path, log=CapturingLogger(), poll_s=1e6)
    await sdn.network()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sdn.changed)
            await trio.testing.wait_all_tasks_blocked()
            path.write_text("nodes = [")
            with pytest.raises(LocalFault, match=r"network\.toml"):
                await sdn.reload()
            path.write_text(NETWORK.replace("camera", "phone"))
            network = await sdn.reload()

    assert "sae:phone.A" in network.directory


async def test_a_file_still_being_written_is_left_alone_until_it_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut at a line's end it would be a sound file with a rule less. Method: a stamp that changes
    at each of five looks, and the reads that happened by then."""
    path = tmp_path / "network.toml"
    path.write_text(NETWORK)
    sdn = SDNFile(path, log=CapturingLogger(), poll_s=0)
    await sdn.network()
    path.write_text(NETWORK.replace("camera", "phone"))
    stamps = [(1,), (2,), (3,), (4,), (5,), (5,)]
    reads_at: list[int] = []

    def read(path: Path) -> Network:
        reads_at.append(len(stamps))
        return load_network(path)

    monkeypatch.setattr(sdn_file, "_stamp", lambda path: stamps.pop(0))
    monkeypatch.setattr(sdn_file, "load_network", read)

    await sdn.changed()

    assert reads_at == [0], "one read, after the two looks that agreed"


async def test_a_file_that_vanishes_leaves_the_last_view(tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    path.write_text(NETWORK)
    log = CapturingLogger()
    sdn = SDNFile(path, log=log, poll_s=0.001)
    await sdn.network()
    path.unlink()

    with trio.move_on_after(0.05) as waiting:
        await sdn.changed()

    assert waiting.cancelled_caught
    assert len(log.calls) == 1
