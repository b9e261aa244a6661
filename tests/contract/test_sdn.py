"""What every source of topology and policy must keep: a file, and the fake controller."""

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio
from structlog.testing import CapturingLogger

from kms.adapters.memory.sdn import MemorySDN
from kms.adapters.sdn_file import SDNFile, load_network
from kms.domain.errors import LocalFault
from kms.domain.names import NodeId, SAEId
from kms.domain.policy import Policy, Rule, Share
from kms.ports.sdn import SDN, Network

FIRST = Network(
    nodes=frozenset({NodeId("A"), NodeId("B")}),
    links=frozenset({(NodeId("A"), NodeId("B"))}),
    directory={SAEId("sae:x.A"): NodeId("A")},
    policy=Policy(
        rules=(
            Rule(one="sae:x.A", other="sae:*.B", at=NodeId("A"), max_bps=8000, per=Share.RULE),
            Rule(one="sae:*.A", other="sae:*.B"),
        )
    ),
)
SECOND = attrs.evolve(FIRST, policy=Policy(rules=FIRST.policy.rules, revoked=frozenset({"0" * 64})))


def as_text(network: Network) -> str:
    """The file that gives this view."""
    lines = [f"nodes = {sorted(network.nodes)}", f"links = {[list(x) for x in network.links]}"]
    for sae, node in network.directory.items():
        lines += ["[[application]]", f'sae = "{sae}"', f'node = "{node}"']
    for rule in network.policy.rules:
        lines += ["[[allow]]", f'one = "{rule.one}"', f'other = "{rule.other}"']
        lines += [f'at = "{rule.at}"'] if rule.at else []
        lines += [f"max_bps = {rule.max_bps}", f'per = "{rule.per.value}"'] if rule.max_bps else []
    lines += ["[policy]", f"revoked = {sorted(network.policy.revoked)}"]
    return "\n".join(lines).replace("'", '"')


@attrs.frozen
class World:
    """An SDN port, and how a test changes what it sees."""

    sdn: SDN
    give: Callable[[Network], object]
    spoil: Callable[[], object]


@pytest.fixture(params=["file", "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "memory":
        memory = MemorySDN(FIRST)
        return World(memory, memory.give, lambda: memory.fail("spoiled"))
    path = tmp_path / "network.toml"
    path.write_text(as_text(FIRST))
    sdn = SDNFile(path, log=CapturingLogger(), poll_s=0.01)
    fresh = tmp_path / "network.toml.new"

    def give(text: str) -> None:
        fresh.write_text(text)
        fresh.replace(path)

    return World(sdn, lambda network: give(as_text(network)), lambda: give("nodes = ["))


async def test_the_view_is_what_was_given(world: World) -> None:
    assert await world.sdn.network() == FIRST


async def test_a_new_view_ends_the_wait_and_is_there(world: World) -> None:
    await world.sdn.network()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.sdn.changed)
        await trio.testing.wait_all_tasks_blocked()
        world.give(SECOND)

    assert await world.sdn.network() == SECOND


async def test_a_change_between_reading_and_waiting_is_not_missed(world: World) -> None:
    await world.sdn.network()
    world.give(SECOND)

    with trio.fail_after(5):
        await world.sdn.changed()


async def test_the_same_view_again_wakes_nobody(world: World) -> None:
    await world.sdn.network()
    world.give(FIRST)

    with trio.move_on_after(0.1) as waiting:
        await world.sdn.changed()

    assert waiting.cancelled_caught


async def test_a_bad_view_raises_wakes_nobody_and_the_next_good_one_counts(world: World) -> None:
    await world.sdn.network()
    world.spoil()

    with pytest.raises(LocalFault):
        await world.sdn.network()
    with trio.move_on_after(0.1) as waiting:
        await world.sdn.changed()
    assert waiting.cancelled_caught

    world.give(SECOND)
    with trio.fail_after(5):
        await world.sdn.changed()
    assert await world.sdn.network() == SECOND


async def test_a_wait_that_was_given_up_leaves_the_next_one_whole(world: World) -> None:
    await world.sdn.network()
    with trio.move_on_after(0.01):
        await world.sdn.changed()

    world.give(SECOND)

    with trio.fail_after(5):
        await world.sdn.changed()


async def test_a_report_is_taken(world: World) -> None:
    await world.sdn.report({"state": "ready"})

    if isinstance(world.sdn, MemorySDN):
        assert world.sdn.reports == [{"state": "ready"}]


def test_the_text_of_a_view_reads_back(tmp_path: Path) -> None:
    """Guards this file's own ``as_text``."""
    path = tmp_path / "network.toml"
    path.write_text(as_text(SECOND))

    assert load_network(path) == SECOND
