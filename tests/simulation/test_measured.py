"""What histories measure, and what becomes of it when there are several."""

from kms.simulation.checkers.i07_agreed import Agreed
from kms.simulation.checkers.i08_bounded import Bounded
from kms.simulation.faults.wires import Cut
from kms.simulation.measured import Measured
from kms.simulation.simulation import Simulation
from tests.simulation.planted import LINK, NETWORK


def test_of_an_amount_the_largest_of_all_histories_stays_and_nothing_is_an_amount() -> None:
    one, other = Measured(), Measured()
    for amount in (3, 7, 5):
        one.saw("blocks", amount)
    other.saw("blocks", 6)
    other.saw("streams", 0)
    one.add(other)

    assert {"most blocks": 7, "most streams": 0} == one.figures()


def test_the_percentile_of_times_is_that_of_all_histories_together() -> None:
    one, other = Measured(), Measured()
    for time_ms in range(1, 101):
        one.took("agreed", time_ms)
    other.took("agreed", 5_000)
    other.took("agreed", 7_000)
    one.add(other)

    assert {
        "agreed, longest, ms": 7_000,
        "agreed, 99th percentile, ms": 5_000,
    } == one.figures()


def test_how_long_two_ends_took_to_agree_and_what_was_bounded_is_measured() -> None:
    simulation = Simulation(NETWORK, 1, [Agreed, Bounded])
    cut = Cut(at_ms=60_000, link=LINK)
    simulation.loop.after_ms(cut.at_ms, lambda: cut.happen(simulation))
    simulation.begin()
    simulation.loop.run_until_us(60_000_000)
    simulation.heal()
    simulation.loop.run_until_us(90_000_000)
    simulation.watch.tell("calm")
    figures = simulation.watch.measured.figures()

    assert 0 < figures["from healed to agreed, longest, ms"] < 30_000
    assert figures["most events in line"] > 0
    assert figures["most bytes in a pool"] > 0
