"""The counter's contract (tests/contract/test_northbound.py), over two real nodes on a link.

The tests are the contract's own; only their ``pair`` is another, and their clock jumps.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio

from kms.domain.names import KSID
from kms.domain.status import QoS
from tests.contract import test_northbound as contract
from tests.contract import test_northbound_keys as contract_of_keys
from tests.wired.nodes import network, wired
from tests.world import ALICE, BOB


class Settled(contract.Pair):
    """News of the second application reaches the first one's node before the test goes on."""

    async def open(self, qos: QoS = contract.QOS) -> KSID:
        ksid = await super().open(qos)
        await self.heard()
        return ksid

    async def heard(self) -> None:
        await trio.sleep(1)


@pytest.fixture
async def pair() -> AsyncIterator[contract.Pair]:
    directory = {
        contract.ALICE: ALICE,
        contract.STRANGER: ALICE,
        contract.NOBODY: ALICE,
        contract.BOB: BOB,
    }
    async with wired(view=network(contract.POLICY, directory)) as nodes:
        yield Settled(here=nodes.alice.counter, there=nodes.bob.counter)


def _sentence(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def _cases() -> Iterator[Any]:
    """Every test of the contract and of that for keys with IDs, with each of its parameters."""
    for name, test in [*vars(contract).items(), *vars(contract_of_keys).items()]:
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


CASES = list(_cases())


@pytest.mark.parametrize(("test", "arguments"), CASES)
async def test_wired_nodes_keep_the_counters_contract(
    test: Callable[..., Awaitable[None]],
    arguments: dict[str, object],
    pair: contract.Pair,
    autojump_clock: object,
) -> None:
    await test(pair, **arguments)


def test_the_whole_contract_was_found() -> None:
    assert len(CASES) >= 47
