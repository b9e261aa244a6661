"""The counter's contract (tests/contract/test_northbound.py), over two real nodes on a link.

The tests are the contract's own; only their ``pair`` is another. The nodes are asked bare, where
the clock jumps; and behind each interface, HTTP on its fast and on its slow way: there sockets and
TLS are between the application and its node, and the clock is the real one. What the journals say
of the two ways is ``test_ways``'s.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import attrs
import pytest
import trio

from kms.domain.names import KSID
from kms.domain.status import QoS
from tests.contract import test_northbound as contract
from tests.contract import test_northbound_keys as contract_of_keys
from tests.contract.counters import INTERFACES, KEY_INTERFACES
from tests.wired.nodes import Wired, WiredNode, network, wired
from tests.world import ALICE, BOB

DIRECTORY = {
    contract.ALICE: ALICE,
    contract.STRANGER: ALICE,
    contract.NOBODY: ALICE,
    contract.BOB: BOB,
}


@attrs.frozen(kw_only=True)
class Settled(contract.Pair):
    """News of the second application reaches the first one's node before the test goes on."""

    nodes: Wired

    async def open(self, qos: QoS = contract.QOS) -> KSID:
        ksid = await super().open(qos)
        await self.heard()
        return ksid

    async def heard(self) -> None:
        with trio.fail_after(20):
            while _streams(self.nodes.alice) != _streams(self.nodes.bob):
                await trio.sleep(0.005)


def _streams(node: WiredNode) -> list[tuple[str, str]]:
    """How far each stream is, as this node knows."""
    return sorted((str(one.ksid), one.state) for one in node.pump.node.streams.statistics(1000))


@asynccontextmanager
async def _pair(interface: str = "bare") -> AsyncIterator[contract.Pair]:
    async with wired(view=network(contract.POLICY, DIRECTORY)) as nodes:
        here, there = nodes.alice.counter, nodes.bob.counter
        if interface == "bare":
            yield Settled(here=here, there=there, nodes=nodes)
            return
        behind = {**INTERFACES, **KEY_INTERFACES}[interface]
        async with behind(here) as front, behind(there) as back:
            yield Settled(here=front, there=back, nodes=nodes)


def _sentence(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def _cases(*modules: ModuleType) -> Iterator[Any]:
    """Every test of the contract, with each of its parameters."""
    for name, test in [each for module in modules for each in vars(module).items()]:
        if not (name.startswith("test_") and inspect.iscoroutinefunction(test)):
            continue
        ways: list[dict[str, object]] = [{}]
        for mark in getattr(test, "pytestmark", []):
            assert mark.name == "parametrize", f"{mark.name} is not read here"
            argument, values = mark.args
            assert "," not in argument, "one argument each"
            ways = [{**way, argument: value} for way in ways for value in values]
        for way in ways:
            with_these = [str(value) for value in way.values()]
            yield pytest.param(test, way, id=" ".join([_sentence(name), *with_these]))


STREAMS, KEYS = list(_cases(contract)), list(_cases(contract_of_keys))
Test = Callable[..., Awaitable[None]]


@pytest.mark.parametrize(("test", "arguments"), STREAMS + KEYS)
async def test_wired_nodes_keep_the_counters_contract(
    test: Test, arguments: dict[str, object], autojump_clock: object
) -> None:
    async with _pair() as pair:
        await test(pair, **arguments)


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize(("test", "arguments"), STREAMS)
async def test_wired_nodes_keep_it_behind_every_interface_of_streams(
    test: Test, arguments: dict[str, object], interface: str
) -> None:
    async with _pair(interface) as pair:
        await test(pair, **arguments)


@pytest.mark.parametrize("interface", KEY_INTERFACES)
@pytest.mark.parametrize(("test", "arguments"), KEYS)
async def test_wired_nodes_keep_it_behind_the_interface_of_keys_with_ids(
    test: Test, arguments: dict[str, object], interface: str
) -> None:
    async with _pair(interface) as pair:
        await test(pair, **arguments)


def test_the_whole_contract_was_found() -> None:
    assert len(STREAMS) >= 41
    assert len(KEYS) >= 12
