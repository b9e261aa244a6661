"""A simulated source of randomness: each mood, and who is told of it."""

import pytest

from kms.simulation.entropy import Entropy, EntropyError


def source() -> tuple[Entropy, list[str]]:
    fired: list[str] = []
    return Entropy("seed", fired.append), fired


def test_a_good_source_gives_the_same_draws_for_a_seed_and_no_two_alike() -> None:
    (one, fired), (other, _) = source(), source()
    drawn = [one.uuid4() for _ in range(10)]

    assert drawn == [other.uuid4() for _ in range(10)]
    assert len(set(drawn)) == 10
    assert fired == []


def test_a_stuck_source_gives_the_last_draw_and_a_replaying_one_all_again() -> None:
    entropy, fired = source()
    drawn = [entropy.uuid4() for _ in range(3)]
    entropy.take("entropy stuck")
    stuck = [entropy.uuid4() for _ in range(2)]
    entropy.take("entropy replays")
    replayed = [entropy.uuid4() for _ in range(4)]
    entropy.take("")

    assert [drawn[2]] * 2 == stuck
    assert [*drawn, drawn[0]] == replayed
    assert entropy.uuid4() not in drawn
    assert fired == ["entropy stuck", "entropy replays"]


def test_a_failing_source_gives_nothing_and_counts_once() -> None:
    entropy, fired = source()
    entropy.uuid4()
    entropy.take("entropy fails")
    for _ in range(2):
        with pytest.raises(EntropyError):
            entropy.uuid4()

    assert fired == ["entropy fails"]


def test_a_copied_machine_repeats_what_the_first_one_drew() -> None:
    (one, _), (other, _) = source(), source()
    drawn = one.uuid4()
    one.take("entropy stuck")
    other.be_like(one)

    assert other.uuid4() == drawn
