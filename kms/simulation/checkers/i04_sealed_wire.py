"""I4 Key crosses the wire only under a one-time pad of its own length.

Every frame is searched for bits of any device or secret, at every alignment (of a large one the
head, and a stretch further on that moves from frame to frame). Of some frames the pad behind them
is made again from the physical bits: what it reveals must be messages, or the frame went in clear
or under something else.
"""

from typing import TYPE_CHECKING

from kms.domain import limits, wire
from kms.domain.errors import PeerFault
from kms.domain.frame import HEADER_BYTES, Kind, read_header
from kms.domain.names import LinkId
from kms.domain.otp import xor
from kms.domain.secret import Secret
from kms.simulation.checker import Checker
from kms.simulation.checkers.pads import Pads

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

# A frame of this length is searched as a whole; of a larger one two such parts.
_WHOLE_BYTES = 1024
# Of so many frames one is unsealed.
_UNSEAL_EVERY = 16


class SealedWire(Checker):
    """What anybody on the wire can read."""

    invariant = "I4"

    def __init__(self, simulation: "Simulation") -> None:
        self._pads = Pads.of(simulation)
        super().__init__(simulation, self._pads)
        self._frames = 0

    def sent(self, site: "Site", link: LinkId, data: bytes) -> None:
        self._frames += 1
        found = self.simulation.bits.anywhere(data[:_WHOLE_BYTES])
        if found is None and len(data) > _WHOLE_BYTES:
            at = self._frames * 977 % (len(data) - _WHOLE_BYTES) + 1
            found = self.simulation.bits.anywhere(data[at : at + _WHOLE_BYTES])
        self.holds(found is None, "{} sends key in clear on {}: {}", site.place, link, found)
        if not self._frames % _UNSEAL_EVERY:
            self._unseal(site, link, data)

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
