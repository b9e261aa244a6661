"""I4 Key crosses the wire only under a one-time pad of its own length.

Every frame is searched for bits of any device or secret, at every alignment (of a large one the
head, and a stretch further on that moves from frame to frame). Of some frames the pad behind them
is made again from the physical bits: what it reveals must be messages, or the frame went in clear
or under something else. Keys for several slaves cross the wire themselves: while they may be on
their way every frame is searched for each of them.
"""

from collections import deque
from typing import TYPE_CHECKING, cast

from kms.domain import limits, wire
from kms.domain.effects import Effect, StoreMaterial
from kms.domain.errors import PeerFault
from kms.domain.frame import HEADER_BYTES, Kind, read_header
from kms.domain.names import LinkId
from kms.domain.otp import xor
from kms.domain.secret import Secret
from kms.simulation.checker import Checker
from kms.simulation.checkers.bundles import ENTRUSTED
from kms.simulation.checkers.pads import Pads

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

# A frame of this length is searched as a whole; of a larger one two such parts.
_WHOLE_BYTES = 1024
# Of so many frames one is unsealed.
_UNSEAL_EVERY = 16
# Keys for several are on their way so long at the most: then their request is over.
_UNDER_WAY_US = (limits.KEYS_TIMEOUT_MS + 1_000) * 1_000
# Chance does not make so many bytes twice; of one bundle so many such stretches are looked for.
_STRETCH_BYTES = 16
_STRETCHES_MAX = 16


class SealedWire(Checker):
    """What anybody on the wire can read."""

    invariant = "I4"
    writes = (StoreMaterial,)

    def __init__(self, simulation: "Simulation") -> None:
        self._pads = Pads.of(simulation)
        super().__init__(simulation, self._pads)
        self._frames = 0
        self._under_way: deque[tuple[int, set[bytes]]] = deque()
        """until when, and stretches of the keys"""

    def wrote(self, site: "Site", effect: Effect) -> None:
        stored = cast(StoreMaterial, effect)
        if not stored.material.startswith(ENTRUSTED):
            return
        raw = bytes(stored.bits.expose())
        step = max(_STRETCH_BYTES, len(raw) // _STRETCHES_MAX)
        places = range(0, len(raw) - _STRETCH_BYTES + 1, step)
        until = self.simulation.loop.now_us + _UNDER_WAY_US
        stretches = {raw[at : at + _STRETCH_BYTES] for at in places}
        if not any(stretches == known for _, known in self._under_way):
            self._under_way.append((until, stretches))

    def sent(self, site: "Site", link: LinkId, data: bytes) -> None:
        self._frames += 1
        found = self.simulation.bits.anywhere(data[:_WHOLE_BYTES])
        if found is None and len(data) > _WHOLE_BYTES:
            at = self._frames * 977 % (len(data) - _WHOLE_BYTES) + 1
            found = self.simulation.bits.anywhere(data[at : at + _WHOLE_BYTES])
        self.holds(found is None, "{} sends key in clear on {}: {}", site.place, link, found)
        if self._under_way:
            self._search(site, link, data)
        if not self._frames % _UNSEAL_EVERY:
            self._unseal(site, link, data)

    def _search(self, site: "Site", link: LinkId, data: bytes) -> None:
        while self._under_way and self._under_way[0][0] < self.simulation.loop.now_us:
            self._under_way.popleft()
        for _, stretches in self._under_way:
            clear = any(each in data for each in stretches)
            self.holds(not clear, "{} sends keys for several in clear on {}", site.place, link)

    def _unseal(self, site: "Site", link: LinkId, data: bytes) -> None:
        header = read_header(data)
        if header.kind is Kind.OPENING:
            return
        start = header.offset + limits.MAC_KEY_BYTES
        places = self._pads.written(site, link, start, header.secret_bytes)
        if places is None:
            return  # That is I1's to say.
        self.holds(not header.public_bytes, f"{site.place} sends a public part on {link}")
        hidden = data[HEADER_BYTES : HEADER_BYTES + header.secret_bytes]
        try:
            said = wire.decode(xor(hidden, Secret(self._pads.bits(places)).expose()))
        except PeerFault:
            said = []
        self.holds(said, f"{site.place} sends a frame on {link} that is not under its pad")
