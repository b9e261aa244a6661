"""The counter's contract (tests/contract/test_northbound.py), over two real nodes on a link.

The tests are the contract's own; only their ``pair`` is another.
"""

from collections.abc import AsyncIterator

import pytest

from tests.contract import test_northbound as contract
from tests.contract.test_northbound import *  # noqa: F403
from tests.wired.nodes import network, wired
from tests.world import ALICE, BOB


@pytest.fixture
async def pair(autojump_clock: object) -> AsyncIterator[contract.Pair]:
    directory = {
        contract.ALICE: ALICE,
        contract.STRANGER: ALICE,
        contract.NOBODY: ALICE,
        contract.BOB: BOB,
    }
    async with wired(view=network(contract.POLICY, directory)) as nodes:
        yield contract.Pair(here=nodes.alice.counter, there=nodes.bob.counter)
