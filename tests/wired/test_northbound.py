"""The counter's contract (tests/contract/test_northbound.py), over two real nodes on a link.

The tests are the contract's own; only their ``pair`` is another, and their clock jumps.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

from kms.domain.names import KSID
from kms.domain.status import QoS
from tests.contract import test_northbound as contract
from tests.wired.nodes import network, wired
from tests.world import ALICE, BOB


class Settled(contract.Pair):
    """News of the second application reaches the first one's node before the test goes on."""

    async def open(self, qos: QoS = contract.QOS) -> KSID:
        ksid = await super().open(qos)
        await trio.sleep(1)
        return ksid


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


TESTS = {
    _sentence(name): test
    for name, test in vars(contract).items()
    if name.startswith("test_") and inspect.iscoroutinefunction(test)
}


@pytest.mark.parametrize("sentence", TESTS)
async def test_wired_nodes_keep_the_counters_contract(
    sentence: str, pair: contract.Pair, autojump_clock: object
) -> None:
    test: Callable[[contract.Pair], Awaitable[None]] = TESTS[sentence]
    await test(pair)


def test_the_whole_contract_was_found() -> None:
    assert len(TESTS) >= 20
