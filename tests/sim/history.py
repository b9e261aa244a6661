"""A random life of two nodes, from one seed: everything that may happen, in any order.

Theory of operation: ``live`` draws acts by weight, and each act's arguments; ``heal`` then ends
every fault. What a seed means is the order of its draws: a draw that is added, dropped or moved
changes what every seed does, and the regression seeds lose what they kept.
"""

import random
from collections.abc import Callable

from kms.domain.names import NodeId
from kms.domain.records import Way
from tests.sim.life import Faults, Life, other_end
from tests.world import ALICE, BOB

SIZES = (16, 32, 100, 1000, 5000, 40_000)

__all__ = ["Faults", "History", "lives"]


class History:
    """One seed's life."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.life = Life(faults)
        self.life.draw_place = lambda most: self.random.randrange(-1, most + 1)
        self.world, self.ledger, self.done = self.life.world, self.life.ledger, self.life.done
        self._late: list[tuple[int, NodeId, int]] = []

    def live(self, actions: int) -> None:
        menu: list[tuple[int, Callable[[], None]]] = [
            (60, self.deliver),
            (5, self.settle),
            (12, self.block),
            (4, self.late_block),
            (6, self.time),
            (4, self.open),
            (4, self.join),
            (20, self.get),
            (2, self.hang_up),
            (1, self.close),
            (3, self.cut),
            (9, self.connect),
            (3, self.lose),
            (4, self.crash),
            (2, self.one_sided),
            (1, self.wall_jump),
        ]
        if self.faults.mismatches:
            menu.append((2, self.different))
        if self.faults.restores:
            menu += [(3, self.back_up), (2, self.restore)]
        if self.faults.rot:
            menu.append((2, self.rot))
        if self.faults.second_secrets:
            menu.append((1, self.second_secret))
        if self.faults.both_restored:
            menu += [(3, self.back_up), (2, self.restore_both), (3, self.speak)]
        weights = [weight for weight, _ in menu]
        for _ in range(actions):
            act = self.random.choices(menu, weights)[0][1]
            self.done[act.__name__] += 1
            act()

    def heal(self) -> None:
        """Every fault ends; what must be true then is checked."""
        self.life.heal()

    # ---- the shells -------------------------------------------------------------------------

    def deliver(self) -> None:
        name = self._end()
        if self.world.sites[name].inbox:
            self.life.deliver(name, self.random.choice((1, 1, 2, 3, 10)))

    def settle(self) -> None:
        self.life.settle()

    def time(self) -> None:
        self.life.time(self.random.choice((10, 100, 1000, 3000, 20_000)))

    def wall_jump(self) -> None:
        self.life.wall_jump(self.random.choice((-3_600_000, -1, 1, 3_600_000)))

    # ---- devices ----------------------------------------------------------------------------

    def block(self) -> None:
        number = self.life.new_block()
        length = self.random.choice(self.faults.blocks)
        first = self._end()
        other = other_end(first)
        self.life.block(first, number, length)
        if self.random.random() < 0.7:
            self.life.block(other, number, length)
        else:
            self._late.append((number, other, length))
        if self.random.random() < 0.05:
            self.life.block(other, number, length)

    def late_block(self) -> None:
        if self._late:
            number, name, length = self._late.pop(self.random.randrange(len(self._late)))
            self.life.block(name, number, length)

    def one_sided(self) -> None:
        number = self.life.new_block()
        self.life.block(self._end(), number, 4096)

    def different(self) -> None:
        self.life.different(self.life.new_block())

    # ---- applications -----------------------------------------------------------------------

    def open(self) -> None:
        name = self._end()
        chunk_bytes = self.random.choice(SIZES)
        priority = self.random.choice((0, 0, 5))
        self.life.open(name, chunk_bytes, priority, self.random.choice((0, 0, 60)))

    def join(self) -> None:
        found = self.life.announced()
        if found:
            name, ksid = self.random.choice(found)
            self.life.join(name, self.life.streams.index(ksid))

    def get(self) -> None:
        streams = range(len(self.life.streams))
        if streams:
            stream = self.random.choice(streams[-6:])
            index = self.random.choice((None, None, None, None, self.random.randrange(6)))
            self.life.get(self._end(), stream, index)

    def hang_up(self) -> None:
        asked = range(len(self.life.asked))
        if asked:
            self.life.hang_up(self.random.choice(asked[-8:]))

    def close(self) -> None:
        if self.life.streams:
            name = self._end()
            self.life.close(name, self.random.choice(range(len(self.life.streams))))

    # ---- faults -----------------------------------------------------------------------------

    def cut(self) -> None:
        self.life.cut()

    def connect(self) -> None:
        if not self.world.connected():
            self.life.connect()

    def lose(self) -> None:
        """Nothing of one end, or of both, arrives."""
        if self.world.connected():
            self.life.lose(*self.random.choice(((ALICE,), (BOB,), (ALICE, BOB))))

    def crash(self) -> None:
        """In one of the next batches: before its commit, or anywhere in its outputs."""
        self.life.crash(self.random.randrange(4), 0)

    def back_up(self) -> None:
        name = self._end()
        self.life.back_up(name, clone=self.random.random() < 0.5)

    def restore(self) -> None:
        name = self._end()
        backups = range(len(self.life.backups[name]))
        if backups:
            self.life.restore(name, self.random.choice(backups))

    def restore_both(self) -> None:
        chosen: list[int | None] = []
        for name in (ALICE, BOB):
            backups = range(len(self.life.backups[name]))
            some = bool(backups) and self.random.random() < 0.9
            chosen.append(self.random.choice(backups) if some else None)
        self.life.restore_both(*chosen)

    def speak(self) -> None:
        self.life.speak(self._end(), self.random.choice((Way.BURN, Way.BURN, Way.ASK_PEERS)))

    def rot(self) -> None:
        name = self._end()
        disk = self.world.sites[name].disk
        names = [material for material, gone in disk.gone.items() if not all(gone)]
        if names:
            rotten = self.random.choice(names)
            if "hash-key" not in rotten:
                self.life.rot(name, rotten)

    def second_secret(self) -> None:
        self.life.second_secret()

    # ---- inside -----------------------------------------------------------------------------

    def _end(self) -> NodeId:
        return self.random.choice((ALICE, BOB))


def lives(seed: int, faults: Faults, actions: int = 250) -> History:
    """The whole history of one seed, healed and checked; its seed is in what it raises, and all it
    did in a note beside it."""
    history = History(seed, faults)
    try:
        history.live(actions)
        history.heal()
    except AssertionError as broken:
        broken.add_note(history.life.story())
        raise AssertionError(f"seed {seed}, {faults}: {broken}") from broken
    return history
