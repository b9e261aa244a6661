"""How long the checker of I10 lets a request wait."""

from uuid import UUID

import pytest

from kms.domain.names import KSID, SAEId
from kms.domain.requests import OpenConnect, OpenReply
from kms.domain.status import QoS, Status
from kms.simulation.checker import Violation
from kms.simulation.checkers.i10_unhurt import Unhurt
from kms.simulation.simulation import Simulation
from kms.simulation.site import Outcome
from tests.simulation.planted import ALICE, BOB, NETWORK

KSID_ONE = KSID(UUID("00000000-0000-4000-8000-000000000001"))
ONE, OTHER = SAEId("sae:app0.alice"), SAEId("sae:app0.bob")


def test_an_opening_waits_as_long_as_it_asked_where_its_stream_is_not_known() -> None:
    """Goal: a node that was put back, or a clone, does not know the stream of the KSID, nor its
    Timeout of one second: it makes one with the Timeout of the request, five seconds.

    Found by half an hour of two nodes with eight times the restores and cuts, seed 12.
    """
    simulation = Simulation(NETWORK, 1, [Unhurt])
    alice, bob = simulation.sites[ALICE], simulation.sites[BOB]
    tell = simulation.watch.tell

    def until_s(end_s: int) -> None:
        while simulation.loop.now_ms < end_s * 1000:
            simulation.loop.run_until_us(simulation.loop.now_us + 500_000)
            simulation.watch.batch(bob, [], [])

    until_s(1)
    wish = OpenConnect(source=ONE, destination=OTHER, qos=QoS(timeout=1_000))
    tell("asked", alice, 1, ONE, wish)
    reply = OpenReply(
        status=Status.PEER_NOT_CONNECTED_YET, message="", qos=QoS(timeout=1_000), ksid=KSID_ONE
    )
    tell("answered", alice, 1, Outcome(reply=reply))
    join = OpenConnect(source=OTHER, destination=ONE, qos=QoS(), ksid=KSID_ONE)
    tell("asked", bob, 2, OTHER, join)
    until_s(7)

    with pytest.raises(Violation, match=r"I10 bob left sae:app0\.bob without an answer to 2"):
        until_s(9)
