"""Frames of real traffic, altered in every way: none is taken (I4, I9).

Theory of operation. Two ends play whole lives of blocks and streams. Before a sealed frame arrives
it is altered: each of its bits alone, then at random several bits, cut, lengthened, spliced with
another frame. Every altered frame goes to the receiving link by the way that all frames go, and has
to be refused *before* anything is decrypted: behind the header that is a failed MAC, in the header
it may be a range, epoch or length that is not right. Now and then a whole node takes one, and its
state hash is the same as before. At last the frame goes in as it was sent, and must be taken: a
receiver that refuses everything would prove nothing.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator

from kms.domain import frame
from kms.domain.errors import PeerFault
from kms.domain.events import PeerFrame
from kms.domain.frame import HEADER_BYTES, Kind
from kms.domain.outbox import Outbox
from kms.domain.requests import GetKey
from kms.domain.status import Status
from tests.proof.report import PartReport, Tell
from tests.siege import besieged, copy_of, stream
from tests.statehash import SESSION, changes, state
from tests.world import ALICE, ANN, BEN, BOB, LINK, Site, World

# Beyond this the part has said enough.
VIOLATIONS_MAX = 20
# Of so many altered frames one is given to a whole node.
WHOLE_NODE_EVERY = 2_500
# Random alterations of a frame, beside each of its bits.
WILD_PER_FRAME = 200
# Each kind of alteration is tried at least once in so many altered frames; a frame has a thousand
# bits or so, and each of them comes first.
FRAMES_PER_KIND = 100
FRAME_BITS_MAX = 8 * 4096
KINDS = ("one bit", "several bits", "cut", "lengthened", "spliced")
FLIP, SEVERAL, CUT, LONGER, SPLICED = KINDS


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """``amount`` altered frames, each refused."""
    started = time.perf_counter()
    flips = Flips(seed)
    told = 0.0
    while flips.made < amount and len(flips.violations) < VIOLATIONS_MAX:
        flips.live(int(amount))
        if flips.made - told >= amount / 10:
            told = flips.made
            tell(f"{flips.made} frames altered, {len(flips.violations)} taken")
    return PartReport(
        part="flips",
        invariants=("I4", "I9"),
        seed=seed,
        made={
            "altered frames": flips.made,
            "frames as sent": flips.untouched,
            "whole nodes compared": flips.nodes,
        },
        checks=flips.made + flips.untouched + flips.nodes,
        faults=dict(flips.kinds),
        faults_min=int(amount // FRAMES_PER_KIND),
        violations=tuple(flips.violations),
        seconds=time.perf_counter() - started,
    )


class Flips:
    """Counts, and what was found."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.made = self.untouched = self.nodes = 0
        self.kinds: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self.violations: list[str] = []
        self._others: list[bytes] = []
        self._lives = 0

    def live(self, amount: int) -> None:
        """One life of two ends, each sealed frame of it tried until ``amount`` is made."""
        self._lives += 1
        # Of this life only: in the next one the same bits come again, and with them whole frames.
        self._others.clear()
        world = besieged()
        number = 100 * self._lives
        for step in range(6):
            number += 1
            world.block(number, length=self.random.choice((4096, 8192)))
            if step == 2:
                stream(world, (BOB, BEN), (ALICE, ANN))
            for name, who in ((ALICE, ANN), (BOB, BEN)):
                for ksid in world.sites[name].node.streams._register.streams:
                    world.ask(name, who, GetKey(ksid=ksid))
            self._deliver(world, amount)
            if self.made >= amount or len(self.violations) >= VIOLATIONS_MAX:
                return
        assert self._keys(world), "a life in which key was read"

    def _keys(self, world: World) -> int:
        return sum(
            getattr(answer, "status", Status.SUCCESS) is Status.SUCCESS
            for site in world.sites.values()
            for answer in site.answers.values()
        )

    def _deliver(self, world: World, amount: int) -> None:
        """All that is under way arrives, each sealed frame of our link after its alterations."""
        while any(site.inbox for site in world.sites.values()):
            for site in world.sites.values():
                if not site.inbox:
                    continue
                event = site.inbox[0]
                if isinstance(event, PeerFrame) and event.link == LINK and self.made < amount:
                    self._try(world, site, event, amount)
                else:
                    world.step(site.name, 1)

    def _try(self, world: World, site: Site, event: PeerFrame, amount: int) -> None:
        data = event.data
        if frame.read_header(data).kind is Kind.SEALED and len(data) * 8 <= FRAME_BITS_MAX:
            for kind, altered in self._alterations(data):
                self._refused(world, site, event.session, kind, data, altered)
                if self.made >= amount or len(self.violations) >= VIOLATIONS_MAX:
                    break
            self._others = [*self._others[-15:], data]
        reader = site.node.links[LINK].memory.reader
        before = reader.mark
        world.step(site.name, 1)
        if frame.read_header(data).kind is Kind.SEALED:
            self.untouched += 1
            if reader.mark <= before:
                self._found("a frame as it was sent is refused", data, data)

    def _alterations(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        for bit in range(8 * len(data)):
            altered = bytearray(data)
            altered[bit // 8] ^= 1 << bit % 8
            yield FLIP, bytes(altered)
        for _ in range(WILD_PER_FRAME):
            kind = self.random.choice((SEVERAL, CUT, LONGER, SPLICED))
            altered = self._wild(kind, bytearray(data))
            if altered != data:
                yield kind, bytes(altered)

    def _wild(self, kind: str, data: bytearray) -> bytearray:
        pick = self.random.randrange
        if kind == SEVERAL:
            for _ in range(pick(2, 40)):
                data[pick(len(data))] ^= 1 << pick(8)
        elif kind == CUT:
            # With its lengths put right half of the time: else only the header would be tried.
            del data[pick(len(data)) :]
            if len(data) >= HEADER_BYTES + 16 and pick(2):
                data[18:22] = (len(data) - HEADER_BYTES - 16).to_bytes(4, "big")
        elif kind == LONGER:
            data += self.random.randbytes(pick(1, 64))
            if pick(2):
                data[18:22] = (len(data) - HEADER_BYTES - 16).to_bytes(4, "big")
        elif self._others:
            other = self.random.choice(self._others)
            place = pick(1, min(len(data), len(other)))
            data[place:] = other[place:]
        return data

    def _refused(
        self, world: World, site: Site, session: int, kind: str, data: bytes, altered: bytes
    ) -> None:
        """The link refuses it; I9: nothing of what its pad is has moved."""
        self.made += 1
        self.kinds[kind] += 1
        if self.made % WHOLE_NODE_EVERY == 0:
            self._whole_node(world, site, session, altered)
        link = site.node.links[LINK]
        reader, forgeries = link.memory.reader, link.forgeries
        before = (reader.mark, reader.window.held, reader.granted)
        out = Outbox(world.moment)
        try:
            link.on_frame(session, altered, out)
            forged = link.forgeries == forgeries + 1
            verdict = "" if forged else f"I4 an altered frame ({kind}) is taken"
        except PeerFault as fault:
            # Whoever alters what the MAC covers must not get as far as a message that does not
            # read; but a header may be wrong in itself.
            header_only = altered[:HEADER_BYTES] != data[:HEADER_BYTES] or len(altered) != len(data)
            verdict = "" if header_only else f"I4 refused only when decrypted: {fault.reason}"
        link._forged = 0
        if verdict:
            self._found(verdict, data, altered)
        if out.effects:
            self._found(f"I9 an altered frame ({kind}) has effects", data, altered)
        if before != (reader.mark, reader.window.held, reader.granted):
            self._found(f"I9 an altered frame ({kind}) moves the pad", data, altered)

    def _whole_node(self, world: World, site: Site, session: int, altered: bytes) -> None:
        self.nodes += 1
        before = state(site.node, without=SESSION)
        copied = copy_of(site.node)
        copied.handle(world.moment, PeerFrame(link=LINK, session=session, data=altered))
        changed = changes(before, state(copied, without=SESSION))
        if changed:
            self._found(f"I9 an altered frame changes {changed[0]}", altered, altered)

    def _found(self, what: str, data: bytes, altered: bytes) -> None:
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(
                f"{what}: sent {data[:64].hex()}... of {len(data)} B, altered "
                f"{altered[:64].hex()}; again: python -m tests.proof --part flips "
                f"--seed {self.seed} (altered frame {self.made})"
            )
