"""What every source of randomness must keep, and when the real one refuses."""

import os
from collections.abc import Callable, Iterator

import pytest

from kms.adapters.entropy import OSEntropy
from kms.adapters.memory.entropy import SeededEntropy
from kms.domain.errors import LocalFault
from kms.ports.entropy import Entropy


@pytest.fixture(params=[OSEntropy, lambda: SeededEntropy(1)], ids=["os", "seeded"])
def entropy(request: pytest.FixtureRequest) -> Entropy:
    make: Callable[[], Entropy] = request.param
    return make()


@pytest.mark.parametrize("length", [0, 1, 16, 31, 32, 33, 70_000])
def test_a_draw_has_the_length_asked_for(entropy: Entropy, length: int) -> None:
    assert len(entropy.bits(length)) == length


def test_no_two_draws_are_equal(entropy: Entropy) -> None:
    draws = {bytes(entropy.bits(16).expose()) for _ in range(1000)}

    assert len(draws) == 1000


def test_single_bytes_may_repeat(entropy: Entropy) -> None:
    """300 draws of one byte must contain equal ones; the watch does not mistake them."""
    draws = {bytes(entropy.bits(1).expose()) for _ in range(300)}

    assert len(draws) <= 256


def test_a_uuid_is_of_version_4_and_fresh(entropy: Entropy) -> None:
    drawn = [entropy.uuid4() for _ in range(100)]

    assert {uuid.version for uuid in drawn} == {4}
    assert len(set(drawn)) == 100


def test_one_seed_gives_one_history() -> None:
    first, second = SeededEntropy(7), SeededEntropy(7)

    assert first.bits(40) == second.bits(40)
    assert first.uuid4() == second.uuid4()
    assert first.bits(40) != SeededEntropy(8).bits(40)


def test_a_seeded_source_fails_on_demand() -> None:
    entropy = SeededEntropy(7)
    entropy.fail()

    with pytest.raises(LocalFault):
        entropy.bits(1)
    with pytest.raises(LocalFault):
        entropy.uuid4()


# ---- what only the real source can meet -----------------------------------------------------


def test_a_stuck_source_is_refused_at_its_first_repetition_and_ever_after() -> None:
    draws = iter([b"s" * 32, b"a" * 32, b"b" * 32, b"b" * 40, b"c" * 32])
    entropy = OSEntropy(lambda length: next(draws))
    entropy.bits(32)

    for _ in range(2):
        with pytest.raises(LocalFault, match="repeats itself"):
            entropy.bits(40)

    assert next(draws) == b"c" * 32, "it was not asked again"


def test_a_stuck_source_is_refused_at_the_first_draw_that_anyone_sees() -> None:
    entropy = OSEntropy(bytes)

    with pytest.raises(LocalFault, match="repeats itself"):
        entropy.bits(32)


def test_a_source_that_gives_too_little_is_refused() -> None:
    def short() -> Iterator[int]:
        yield from (32, 32)
        while True:
            yield 31

    lengths = short()
    entropy = OSEntropy(lambda length: os.urandom(next(lengths)))

    with pytest.raises(LocalFault, match="31 of 32"):
        entropy.uuid4()


def test_a_source_that_fails_is_named() -> None:
    def broken(length: int) -> bytes:
        raise OSError(5, "Input/output error")

    with pytest.raises(LocalFault, match="Input/output error"):
        OSEntropy(broken)


def test_nothing_drawn_is_kept_or_shown() -> None:
    seen: list[bytes] = []

    def source(length: int) -> bytes:
        seen.append(os.urandom(length))
        return seen[-1]

    entropy = OSEntropy(source)
    drawn = entropy.bits(32)

    kept = [value for value in vars(entropy).values() if isinstance(value, bytes)]
    assert seen[-1] not in kept
    assert bytes(drawn.expose()) == seen[-1]
    assert seen[-1].hex() not in repr(vars(entropy)) + repr(drawn)
