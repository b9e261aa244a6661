"""A link that a batch left alone has nothing to do at its end: no history shows that it was spared.

Goal: whatever changes a link also says so (``Link.stirred``), and whatever is due by time is known
beforehand (``Link.due_ms``). Method: each history is played twice, once with every link stirred and
due in every batch, as if nobody knew; both must be the same, byte for byte.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from kms.domain.effects import Effect
from kms.domain.events import Event
from kms.domain.link import Link
from kms.simulation import plan
from kms.simulation.checker import Checker
from kms.simulation.simulation import Simulation
from kms.simulation.site import Site
from kms.simulation.topology import named

pytestmark = pytest.mark.slow
HISTORIES = (("two-nodes", 11, 11), ("slow-link", 12, 11), ("nec-five-node", 3, 4))
"""Topology, seed, minutes. In the first a link cannot speak for want of pad, and is given up."""


class StirAll(Checker):
    """Spares no link."""

    def batch(self, site: Site, events: Sequence[Event], effects: Sequence[Effect]) -> None:
        for link in site.node.links.values():
            link.stirred = True
            link.upkeep.due_ms = 0


def history(topology: str, seed: int, minutes: int, *checkers: type[Checker]) -> str:
    network = named(topology)
    simulation = Simulation(network, seed, checkers)
    for fault in plan.drawn(seed, plan.act_ms(network) / 3.6e6, network):
        simulation.loop.after_ms(fault.at_ms, partial(fault.happen, simulation))
    simulation.begin()
    simulation.loop.run_until_us(minutes * 60_000_000)
    return simulation.trace.digest()


@pytest.mark.parametrize("story", HISTORIES, ids=lambda story: story[0])
def test_a_history_is_the_same_when_every_batch_flushes_every_link(
    story: tuple[str, int, int],
) -> None:
    assert history(*story, StirAll) == history(*story)


def test_a_link_that_forgot_to_say_that_it_was_stirred_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sends = Link.send

    def send_in_silence(link: Link, *message: Any) -> None:
        stirred = link.stirred
        sends(link, *message)
        link.stirred = stirred

    monkeypatch.setattr(Link, "send", send_in_silence)

    assert history("two-nodes", 11, 1, StirAll) != history("two-nodes", 11, 1)
