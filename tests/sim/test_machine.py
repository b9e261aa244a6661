"""Two ends of a link and their applications, driven by hypothesis: it looks for the shortest life
that breaks an invariant, and prints it as a test that can be pasted into tests/domain.

The acts are those of the seeded histories (``life``). The ledger checks I1, I2 and I5 at every
step; when the life is over every fault ends, and the two ends must agree (I6, I7, I12).
"""

import os
from collections.abc import Callable

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kms.domain.names import NodeId
from kms.domain.pad import Pad
from kms.domain.records import PadRecord
from kms.domain.stream import Stream
from tests.sim.history import SIZES
from tests.sim.life import BLOCKS, Faults, Life
from tests.world import ALICE, BOB

LIVES = int(os.environ.get("KMS_LIVES", "20"))
ends = st.sampled_from((ALICE, BOB))
few = st.integers(0, 5)


class TwoEnds(RuleBasedStateMachine):
    """One life, without faults that earn an alarm."""

    faults = Faults()

    def __init__(self) -> None:
        super().__init__()
        self.life = Life(self.faults)
        self.halves: list[tuple[int, NodeId, int]] = []
        """blocks that one end has"""

    @initialize(established=st.booleans())
    def begin(self, established: bool) -> None:
        """Half of the lives begin with a stream that both applications have joined: by chance
        alone few would get so far."""

        def act() -> None:
            for number in [self.life.new_block() for _ in range(3)]:
                self.life.block(ALICE, number, 8192)
                self.life.block(BOB, number, 8192)
            self.life.settle()
            self.life.open(ALICE, 32, 0, 0)
            self.life.settle()
            self.life.announced()
            self.life.join(BOB, 0)
            self.life.settle()

        if established:
            self._do(act)

    # ---- the shells -------------------------------------------------------------------------

    @rule(name=ends, events_max=st.sampled_from((1, 2, 3, 10)))
    def deliver(self, name: NodeId, events_max: int) -> None:
        self._do(lambda: self.life.deliver(name, events_max))

    @rule(name=ends)
    def deliver_some(self, name: NodeId) -> None:
        def act() -> None:
            for _ in range(3):
                self.life.deliver(name, 3)

        self._do(act)

    @rule()
    def settle(self) -> None:
        self._do(self.life.settle)

    @rule(ms=st.sampled_from((10, 100, 1000, 3000, 20_000)))
    def time(self, ms: int) -> None:
        self._do(lambda: self.life.time(ms))

    @rule(ms=st.sampled_from((-3_600_000, 3_600_000)))
    def wall_jump(self, ms: int) -> None:
        self._do(lambda: self.life.wall_jump(ms))

    # ---- devices ----------------------------------------------------------------------------

    @rule(length=st.sampled_from(BLOCKS))
    def block(self, length: int) -> None:
        number = self.life.new_block()

        def act() -> None:
            self.life.block(ALICE, number, length)
            self.life.block(BOB, number, length)

        self._do(act)

    @rule(name=ends, length=st.sampled_from(BLOCKS))
    def half_block(self, name: NodeId, length: int) -> None:
        number = self.life.new_block()
        self.halves.append((number, BOB if name == ALICE else ALICE, length))
        self._do(lambda: self.life.block(name, number, length))

    @precondition(lambda self: self.halves)
    @rule()
    def other_half(self) -> None:
        number, name, length = self.halves.pop()
        self._do(lambda: self.life.block(name, number, length))

    # ---- applications -----------------------------------------------------------------------

    @rule(
        name=ends,
        chunk_bytes=st.sampled_from(SIZES),
        priority=st.sampled_from((0, 5)),
        ttl=st.sampled_from((0, 60)),
    )
    def open(self, name: NodeId, chunk_bytes: int, priority: int, ttl: int) -> None:
        self._do(lambda: self.life.open(name, chunk_bytes, priority, ttl))

    @precondition(lambda self: self.life.announced())
    @rule(which=few)
    def join(self, which: int) -> None:
        found = self.life.announced()
        name, ksid = found[which % len(found)]
        self._do(lambda: self.life.join(name, self.life.streams.index(ksid)))

    @precondition(lambda self: self.life.streams)
    @rule(name=ends, which=few, index=st.none() | few)
    def get(self, name: NodeId, which: int, index: int | None) -> None:
        self._do(lambda: self.life.get(name, self._stream(which), index))

    @precondition(lambda self: self.life.streams)
    @rule(name=ends, which=few, count=few)
    def read_on(self, name: NodeId, which: int, count: int) -> None:
        """More than lies ready: key has to be made while it is asked for."""

        def act() -> None:
            for _ in range(count):
                self.life.get(name, self._stream(which), None)
                self.life.deliver(name, 1)

        self._do(act)

    @precondition(lambda self: self.life.streams)
    @rule(name=ends, which=few)
    def close(self, name: NodeId, which: int) -> None:
        self._do(lambda: self.life.close(name, self._stream(which)))

    @precondition(lambda self: self.life.asked)
    @rule(which=few)
    def hang_up(self, which: int) -> None:
        newest = len(self.life.asked) - 1
        self._do(lambda: self.life.hang_up(max(0, newest - which)))

    # ---- faults -----------------------------------------------------------------------------

    @precondition(lambda self: self.life.world.connected())
    @rule()
    def cut(self) -> None:
        self._do(self.life.cut)

    @precondition(lambda self: not self.life.world.connected())
    @rule()
    def connect(self) -> None:
        self._do(self.life.connect)

    @precondition(lambda self: self.life.world.connected())
    @rule(silent=st.sampled_from(((ALICE,), (BOB,), (ALICE, BOB))))
    def lose(self, silent: tuple[NodeId, ...]) -> None:
        self._do(lambda: self.life.lose(*silent))

    @rule(batches=st.integers(0, 3), place=st.integers(-1, 20))
    def crash(self, batches: int, place: int) -> None:
        self._do(lambda: self.life.crash(batches, place))

    def teardown(self) -> None:
        """Every fault ends, whatever it was, and the two ends agree."""

        def act() -> None:
            self.life.heal()
            assert self.life.ledger.checks

        self._do(act)

    # ---- inside -----------------------------------------------------------------------------

    def _stream(self, which: int) -> int:
        return max(0, len(self.life.streams) - 1 - which)

    def _do(self, act: Callable[[], object]) -> None:
        try:
            act()
        except AssertionError as broken:
            broken.add_note(self.life.story())
            raise


class TwoEndsAndWorse(TwoEnds):
    """Old stores, rotten bits, devices that differ and second secrets as well."""

    faults = Faults(restores=True, rot=True, second_secrets=True, mismatches=True)

    @rule()
    def different(self) -> None:
        number = self.life.new_block()
        self._do(lambda: self.life.different(number))

    @rule(name=ends, clone=st.booleans())
    def back_up(self, name: NodeId, clone: bool) -> None:
        self._do(lambda: self.life.back_up(name, clone=clone))

    @precondition(lambda self: any(self.life.backups.values()))
    @rule(which=few)
    def restore(self, which: int) -> None:
        name = next(name for name, backups in self.life.backups.items() if backups)
        backup = which % len(self.life.backups[name])
        self._do(lambda: self.life.restore(name, backup))

    @rule(name=ends, which=st.integers(0, 30))
    def rot(self, name: NodeId, which: int) -> None:
        gone = self.life.world.sites[name].disk.gone
        left = [each for each in gone if not all(gone[each]) and "hash-key" not in each]
        if left:
            self._do(lambda: self.life.rot(name, left[which % len(left)]))

    @rule()
    def second_secret(self) -> None:
        self._do(self.life.second_secret)


def config(lives: int, steps: int, *, shrink: bool = True) -> settings:
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    return settings(
        max_examples=lives,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("machine", [TwoEnds, TwoEndsAndWorse])
def test_no_life_that_hypothesis_finds_breaks_an_invariant(machine: type[TwoEnds]) -> None:
    run_state_machine_as_test(machine, settings=config(LIVES, 60))


def keys_leave_early(patch: pytest.MonkeyPatch) -> str:
    patch.setattr(Stream, "deliverable", property(lambda stream: stream.record.next_index))
    return "I5"


def a_restart_goes_on_at_the_mark(patch: pytest.MonkeyPatch) -> str:
    """Below the grant, where the pad was opened and destroyed."""
    restore = Pad.restore

    def careless(pad: Pad, record: PadRecord) -> None:
        restore(pad, attrs.evolve(record, granted=max(0, record.granted - 4096)))

    patch.setattr(Pad, "restore", careless)
    return "without a fault that earns one"


@pytest.mark.slow
@pytest.mark.parametrize("bug", [keys_leave_early, a_restart_goes_on_at_the_mark])
def test_a_planted_bug_is_found_and_told_as_a_test_that_finds_it_again(
    bug: Callable[[pytest.MonkeyPatch], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    invariant = bug(monkeypatch)
    with pytest.raises(AssertionError, match=invariant) as found:
        run_state_machine_as_test(TwoEnds, settings=config(400, 60, shrink=False))
    story = found.value.__notes__[0]
    pasted: dict[str, Callable[[], None]] = {}
    exec(story, {**globals()}, pasted)

    assert story.startswith("def test_")
    with pytest.raises(AssertionError, match=invariant):
        pasted["test_what_was_found"]()
