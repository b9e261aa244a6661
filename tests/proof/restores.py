"""One end's files are replaced by an older copy, and traffic goes on: nothing is used twice.

Theory of operation. A seeded life on real files (``onfiles``) is photographed now and then, at
either end: a *clone* is every file, data keys included, a *backup* has none (docs/storage.md). Then
one end starts on a photograph of any age, frames are exchanged, crashes and cuts go on, until the
link is up again and both applications get keys. The ledger compares every pad byte (I1) and every
key (I2) over the whole life; a node that calls itself mistaken, or does not start, is a violation.

Once in a while the leader comes back old and *appends another block under a number that its peer
holds already*: the worst that an old store can do. The link must stop until a second secret.

Both ends old at once cannot be seen from within (docs/invariants.md, I1): where nobody outside
remembers, the pictures of one end are thrown away when the other is restored. In every second life
each end has a *witness* outside its files, and mostly both are put back together, each to a picture
of its own. They stand then, until an operator says how they go on.
"""

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kms.domain.appendlog import LogEntry
from kms.domain.direction import Direction
from kms.domain.errors import KMSError
from kms.domain.names import NodeId
from kms.domain.outbox import Outbox
from kms.domain.records import LinkState
from tests.proof.onfiles import FileDisk, Traffic, workshop
from tests.proof.report import PartReport, Tell
from tests.world import ALICE, BOB, LINK

RESTORES_PER_LIFE: Final = 5
PHOTOS_MAX: Final = 6
# Lives with witnesses: one in so many.
WATCHED_EVERY: Final = 2
# Each kind of fault is tried at least once in so many restored stores: every life has one of the
# rarest of its sort.
STORES_PER_FAULT: Final = 12
CLONE, BACKUP, LEADER, BOTH = "clone", "backup", "leader with other appends", "both ends at once"
WATCHED, STOOD = "one end, with a witness", "old by its witness"


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """``amount`` stores were restored, and each lived on."""
    began = time.monotonic()
    kinds: Counter[str] = Counter(dict.fromkeys((CLONE, BACKUP, LEADER, BOTH, WATCHED, STOOD), 0))
    violations: list[str] = []
    checks = life = made = keys = 0
    while made < amount and not violations:
        with (
            workshop() as place,
            caught(violations, f"tests.proof.restores seed {seed} life {life}"),
        ):
            watched = life % WATCHED_EVERY == WATCHED_EVERY - 1
            lived = Life(place, random.Random(f"restores {seed} {life}"), watched=watched)
            try:
                while lived.restored < RESTORES_PER_LIFE and made + lived.restored < amount:
                    lived.round()
            finally:
                made += lived.restored
                kinds.update(lived.kinds)
                checks += lived.traffic.ledger.checks
                keys += len(lived.traffic.ledger.served)
                lived.traffic.close()
        life += 1
        if life % 20 == 0:
            tell(f"restores: {made} stores restored in {life} lives, {keys} keys compared")
    return PartReport(
        part="restores",
        invariants=("I1", "I2"),
        seed=seed,
        made={"restored stores": made, "lives": life, "keys compared": keys},
        checks=checks,
        faults=dict(sorted(kinds.items())),
        faults_min=int(amount // STORES_PER_FAULT),
        violations=tuple(violations),
        seconds=time.monotonic() - began,
    )


@contextmanager
def caught(violations: list[str], again: str) -> Iterator[None]:
    """What breaks inside becomes a violation that says how to make it again."""
    try:
        yield
    except AssertionError as broken:
        text = str(broken).splitlines()[0] if str(broken) else "an assertion failed"
        named = text if re.match(r"I\d+ ", text) else f"I1 the nodes are mistaken: {text}"
        violations.append(f"{named}; make it again: {again}")
    except KMSError as fault:
        violations.append(f"I12 a node does not go on: {fault.reason}; make it again: {again}")


class Life:
    """Two nodes whose ends grow old copies of themselves."""

    def __init__(self, place: Path, chance: random.Random, *, watched: bool) -> None:
        """``watched``: each has a witness, and both may be put back at once."""
        self.chance, self.watched = chance, watched
        self.traffic = Traffic(place, chance, watched=watched)
        self.photos: dict[NodeId, list[FileDisk]] = {ALICE: [], BOB: []}
        self.kinds: Counter[str] = Counter()
        self.restored = 0
        self._hand: list[Callable[[], bool]] = []

    def round(self) -> None:
        """Some life, photographs, and a fault; then the link is up and serves."""
        for _ in range(self.chance.choice((1, 2, 3))):
            self.photograph()
            self.traffic.live(self.chance.randrange(5, 40))
        fault = self._draw()
        if not fault():
            self._hand.insert(0, fault)
        self.traffic.live(self.chance.randrange(30))
        if self.chance.random() < 0.5:
            # In the middle of whatever goes on, and not when all is still.
            self._note_who_stands()
            self.traffic.operate()
            self.traffic.live(self.chance.randrange(30))
        self._note_who_stands()
        self.traffic.come_up()
        self.traffic.feed()
        assert self.traffic.serve() > 0, "I12 no key is served after a restored store"
        mistakes(self.traffic)

    def _draw(self) -> Callable[[], bool]:
        """What happens next: every kind has its share of the ``RESTORES_PER_LIFE`` of a life."""
        if not self._hand:
            if self.watched:
                self._hand = [*[self.restore_both] * 2, self.restore]
            else:
                self._hand = [self.old_leader, *[self.restore] * 4]
            self.chance.shuffle(self._hand)
        return self._hand.pop()

    def _note_who_stands(self) -> None:
        for site in self.traffic.world.sites.values():
            self.kinds[STOOD] += site.node.standing is not None

    def photograph(self) -> None:
        for name, photos in self.photos.items():
            if self.chance.random() < 0.6:
                disk = self.traffic.world.files[name].files
                clone = self.chance.random() < 0.5
                photos.append(disk.copy() if clone else disk.without_slots())
                if len(photos) > PHOTOS_MAX:
                    photos.pop(self.chance.randrange(len(photos))).drop()

    def restore(self) -> bool:
        """One node starts on a photograph of any age, if there is one."""
        name = self.chance.choice((ALICE, BOB))
        if not self.photos[name]:
            return False
        if not self.watched:
            other = BOB if name is ALICE else ALICE
            while self.photos[other]:
                self.photos[other].pop().drop()
        self._start_on_any(name)
        self.kinds[WATCHED] += self.watched
        return True

    def restore_both(self) -> bool:
        """Both start on photographs, each on one of its own."""
        if not (self.photos[ALICE] and self.photos[BOB]):
            return False
        for name in self.chance.sample((ALICE, BOB), 2):
            self._start_on_any(name)
            self.traffic.live(self.chance.choice((0, 0, 3)))
        self.kinds[BOTH] += 1
        return True

    def _start_on_any(self, name: NodeId) -> None:
        """The photograph stays good for another."""
        photo = self.chance.choice(self.photos[name])
        self.start_on(name, photo.copy(), forgot_keys=photo.forgot_keys)
        self.kinds[BACKUP if photo.forgot_keys else CLONE] += 1
        self.restored += 1

    def start_on(self, name: NodeId, disk: FileDisk, *, forgot_keys: bool) -> None:
        world = self.traffic.world
        # What was stored under lost data keys reads as wiped for good, in later copies too.
        disk.forgot_keys = forgot_keys or world.files[name].files.forgot_keys
        self.traffic.ledger.forgetful.add(name)
        world.crash(name, disk)

    def old_leader(self) -> bool:
        """Alice, who leads, is old and numbers a block that bob knows by another number."""
        world, traffic = self.traffic.world, self.traffic
        traffic.come_up()
        photo = world.files[ALICE].files.copy()
        traffic.feed(self.chance.choice((1, 2, 3)))
        while self.photos[BOB]:
            self.photos[BOB].pop().drop()
        self.start_on(ALICE, photo, forgot_keys=False)
        world.settle()
        traffic.blocks += 1
        world.block(traffic.blocks, length=4096)
        world.settle()
        link = world.sites[ALICE].node.links[LINK]
        held = next(reversed(link.agreement.held.values()))
        out = Outbox(world.moment)
        link.agreement.log.append(
            LogEntry(
                seq=link.memory.log_count,
                block_id=held.record.block_id,
                direction=Direction.FROM_LEADER,
                start=link.memory.writer.extents.end,
                length=held.record.length,
            ),
            held.record,
            out,
        )
        link.agreement.held.pop(held.record.block_id)
        world.sites[ALICE].disk.commit(out.effects)
        world.connect()
        states = [world.sites[name].node.links[LINK].memory.state for name in (ALICE, BOB)]
        assert LinkState.DOUBTED in states, "I7 other appends under the same numbers are believed"
        self.kinds[LEADER] += 1
        self.restored += 1
        return True


def mistakes(traffic: Traffic) -> None:
    """No node said that it made a mistake of its own."""
    for site in traffic.world.sites.values():
        for kind, detail in site.alarms:
            assert "mistake of this program" not in detail, f"{site.name}: {kind}: {detail}"
