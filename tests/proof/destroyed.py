"""What was destroyed is in no byte of the node's files, even with its epoch keys in hand (I6).

Theory of operation. Two nodes on real files (``onfiles``) make keys, deliver them, let them expire,
close their streams, and are killed meanwhile: chunks of streams (ETSI 004), and keys with IDs for
one slave or entrusted to several (ETSI 014, ``askers``). After the minute that destruction may
take, the files of each node are read as a thief would:

- every byte of every file, the write-ahead log, the journal and freed places among them, is
  searched for each destroyed key, as bits, in hexadecimal and in base64 at each of its alignments;
- every data-key slot that is not zero is opened with the node's own epoch keys, under every unit
  that ever lay there, and what it opens is searched as well: pads too, since keys are made of them.

A key counts as destroyed at a node when the node's records say that its bytes are gone
(``keysheld``). That they say so in time is checked too: one minute after its delivery, or the
end of its time, nothing of a key may be kept.
Both are done while the store is open, and again when it was closed in order.
"""

import base64
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from unittest.mock import patch

from kms.adapters.store_sqlite.limits import SLOT_BYTES
from kms.adapters.store_sqlite.slots import parse
from kms.adapters.store_sqlite.unit import context, unseal
from kms.domain import limits
from kms.domain.effects import Effect, StoreMaterial, WipeMaterial
from kms.domain.errors import StoreFault
from kms.domain.names import NodeId
from tests.proof.askers import Askers
from tests.proof.keysheld import BUNDLE, PAIR, STREAM, Key, KeysHeld
from tests.proof.onfiles import ENDS, FileDisk, FileSite, Traffic, workshop
from tests.proof.report import PartReport, Tell
from tests.proof.restores import caught, mistakes
from tests.world import Site

# Keys of one life: more only makes each search of its files longer.
KEYS_PER_LIFE: Final = 600
# Each kind of key, and a kill, is there at least once in so many.
KEYS_PER_FAULT: Final = 1_000
_CHUNKS: Final = (16, 32, 32, 64, 256)
# One in so many requests for keys with IDs finds a node that is killed in one of its batches.
_KILLED: Final = 0.15
# Of keys with IDs, in place of an hour: one of these in each life.
_KEYS_TTLS_S: Final = (5, 60, limits.KEYS_TTL_S)
MINUTE_MS: Final = limits.DESTROY_WITHIN_MS
_PIECE: Final = 16
"""bytes of a key that must not be found side by side"""
_PAGE: Final = 4096
_WORD: Final = 8


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """``amount`` destroyed keys were looked for in the files that had held them."""
    began = time.monotonic()
    violations: list[str] = []
    made = checks = life = slots_opened = bytes_searched = 0
    ways: Counter[str] = Counter()
    while made < amount and not violations:
        again = f"tests.proof.destroyed seed {seed} life {life}"
        with workshop() as place, caught(violations, again):
            lived = Life(place, random.Random(f"destroyed {seed} {life}"))
            try:
                lived.live()
                for finding in lived.search():
                    violations.append(f"I6 {finding}; make it again: {again}")
            finally:
                made += lived.destroyed
                checks += lived.searches + lived.traffic.ledger.checks
                slots_opened += lived.slots_opened
                bytes_searched += lived.bytes_searched
                ways.update(lived.ways)
                lived.traffic.close()
        life += 1
        tell(f"destroyed: {made} keys looked for in {life} lives")
    return PartReport(
        part="destroyed",
        invariants=("I6",),
        seed=seed,
        made={"destroyed keys": made, "lives": life},
        checks=checks,
        faults={
            "kill": ways.pop("kill", 0),
            **{f"destroyed keys {kind}": ways.pop(kind, 0) for kind in (STREAM, PAIR, BUNDLE)},
        },
        faults_min=int(amount // KEYS_PER_FAULT),
        measured={
            **{f"keys {way}": number for way, number in sorted(ways.items())},
            "slots opened": slots_opened,
            "MiB searched": round(bytes_searched / limits.MIB, 1),
        },
        violations=tuple(violations[:20]),
        seconds=time.monotonic() - began,
    )


class Life:
    """Two nodes that make, deliver and destroy keys, and what is known of every byte of it."""

    def __init__(self, place: Path, chance: random.Random) -> None:
        self.chance = chance
        self.traffic = Traffic(place, chance, ttls_s=(0, 0, 5, 60))
        self.destroyed = self.searches = self.slots_opened = self.bytes_searched = 0
        self.ways: Counter[str] = Counter()
        self.held = KeysHeld()
        self.askers = Askers(self.traffic, chance)
        self._lay: dict[NodeId, dict[int, dict[bytes, tuple[int, int]]]] = {
            name: {} for name in ENDS
        }
        """by slot: each unit that ever lay there, and where its text did"""
        world, ledger = self.traffic.world, self.traffic.ledger

        def watch(site: Site, effects: list[Effect]) -> None:
            ledger._committed(site, effects)
            self.held.committed(site, effects)
            self._committed(site, effects)

        def watch_output(site: Site, effect: Effect) -> None:
            ledger._leaves(site, effect)
            self.held.leaves(site, effect)

        world.watch, world.watch_output = watch, watch_output

    # ---- life -------------------------------------------------------------------------------

    def live(self) -> None:
        """Keys by the hundred; at the end a minute passes, in which all that is delivered goes."""
        with patch.object(limits, "KEYS_TTL_S", self.chance.choice(_KEYS_TTLS_S)):
            self._live()

    def _live(self) -> None:
        traffic = self.traffic
        for _ in range(200):
            if sum(map(len, self.held.stored.values())) >= KEYS_PER_LIFE:
                break
            traffic.live(self.chance.randrange(25))
            traffic.come_up()
            traffic.feed(1)
            ttl_s = self.chance.choice(traffic.ttls_s)
            name = self.chance.choice(tuple(ENDS))
            ksid = traffic.open_joined(name, self.chance.choice(_CHUNKS), ttl_s)
            for _ in range(self.chance.randrange(12)):
                if ksid is not None:
                    traffic.ask_both(ksid)
                traffic.world.pass_time(self.chance.choice((100, 600)), 100)
            for _ in range(self.chance.randrange(6)):
                if self.chance.random() < _KILLED:
                    traffic.crash()
                self.askers.act()
        self.ways["kill"] = traffic.done["crashed"]
        traffic.come_up()
        for _ in range(MINUTE_MS // 1_000 + 2):
            traffic.world.pass_time(1_000, 500)
        mistakes(traffic)
        self.ways["compared at master and slave"] = self.askers.compared

    def _committed(self, site: Site, effects: list[Effect]) -> None:
        assert isinstance(site, FileSite)
        touched = set()
        for effect in effects:
            if isinstance(effect, StoreMaterial | WipeMaterial):
                touched.add(effect.material)
        engine = site.files.engine
        assert engine is not None
        for name in touched:
            material = engine._catalogue.materials.get(name)
            for unit in material.units.values() if material is not None else ():
                bound = context(name, unit.number, unit.start, unit.end)
                lay = self._lay[site.name].setdefault(unit.slot, {})
                lay[bound] = unit.place, unit.length

    # ---- the search -------------------------------------------------------------------------

    def search(self) -> Iterator[str]:
        """What is readable and should not be."""
        for name, site in self.traffic.world.files.items():
            kept, stored, left = self.held.kept(site), self.held.stored[name], self.held.left[name]
            gone = [key for place, key in stored.items() if place not in kept]
            by_ms = self.traffic.world.moment.wall_ms - MINUTE_MS
            for place, key in stored.items():
                if place in kept and (key.ksid, key.index) in left:
                    yield f"{name} keeps {key.ksid} {key.index} a minute after delivery"
                elif kept.get(place, by_ms) < by_ms:
                    yield f"{name} keeps {key.ksid} {key.index} a minute after its time"
            self.destroyed += len(gone)
            delivered = sum((key.ksid, key.index) in left for key in gone)
            self.ways["delivered"] += delivered
            self.ways["expired, closed or lost"] += len(gone) - delivered
            self.ways.update(key.kind for key in gone)
            yield from self._search(site.files, gone, "open")
            site.files.close()
            yield from self._search(site.files, gone, "closed")

    def _search(self, files: FileDisk, gone: list[Key], state: str) -> Iterator[str]:
        images = dict(images_below(files.home.parent, files))
        images |= dict(self._opened(files))
        self.bytes_searched += sum(map(len, images.values()))
        self.searches += len(gone)
        for key, where in found(gone, images):
            yield (
                f"{files.node}, store {state}: the destroyed key {key.ksid} {key.index} "
                f"is readable in {where}"
            )

    def _opened(self, files: FileDisk) -> Iterator[tuple[str, bytes]]:
        """What the slots open with the epoch keys in hand."""
        slots = (files.home / "store" / "slots").read_bytes()
        material = (files.home / "store" / "material").read_bytes()
        for slot in range(len(slots) // SLOT_BYTES):
            image = slots[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES]
            if not image.strip(b"\0"):
                continue
            for bound, (place, length) in self._lay[files.node].get(slot, {}).items():
                text = material[place * _PAGE : place * _PAGE + length]
                try:
                    yield f"slot {slot}", unseal(files.sealer, text, parse(image), bound)
                except StoreFault:
                    continue
                self.slots_opened += 1


def images_below(place: Path, files: FileDisk) -> Iterator[tuple[str, bytes]]:
    """Every file of the node without its pages of zeros."""
    for path in [*files.home.rglob("*"), place / f"{files.node}.keys"]:
        if path.is_file():
            data = path.read_bytes()
            pages = (data[at : at + _PAGE] for at in range(0, len(data), _PAGE))
            # What lies across two pages must still be found: pages are joined in their order.
            yield path.name, b"".join(page for page in pages if page.strip(b"\0"))


def found(keys: list[Key], images: Mapping[str, bytes]) -> Iterator[tuple[Key, str]]:
    """Each key of which a piece is in an image, and in which one.

    All keys are looked for at once: the image is read as words of eight bytes, from each of eight
    places on, and compared with the first word of every needle.
    """
    wanted: dict[int, list[tuple[bytes, Key]]] = {}
    for key in keys:
        for needle in needles(key.bits):
            word = int.from_bytes(needle[:_WORD], sys.byteorder)
            wanted.setdefault(word, []).append((needle, key))
    first = set(wanted)
    for name, data in images.items():
        hits: set[int] = set()
        for shift in range(min(_WORD, len(data))):
            end = len(data) - (len(data) - shift) % _WORD
            hits |= first.intersection(memoryview(data)[shift:end].cast("Q"))
        seen = {key: name for word in hits for needle, key in wanted[word] if needle in data}
        yield from seen.items()


def needles(bits: bytes) -> Iterator[bytes]:
    """Pieces of which one is there if ``_PIECE`` bytes of the key in a row are, in some spelling,
    from a multiple of ``_PIECE`` on."""
    for at in range(0, len(bits) - _PIECE + 1, _PIECE):
        piece = bits[at : at + _PIECE]
        yield piece
        yield piece.hex().encode()
        yield piece.hex().upper().encode()
        for shift in range(3):
            # The letters that depend on this piece alone, whatever stands before and behind it.
            text = base64.b64encode(bytes(shift) + piece + bytes(2))
            inner = text[-(-shift * 8 // 6) : (shift + _PIECE) * 8 // 6]
            yield inner
            yield inner.translate(bytes.maketrans(b"+/", b"-_"))
