"""I9 An invalid message changes nothing but counters.

A frame that an attacker changed, or says a second time, reaches the node alone, when everything
else that was due is done. Whatever it brings about then is its own doing: an alarm, an entry in the
journal and the end of the session are all that is allowed, and the node's memory is as before. With
the session ends what was on its way in it: keys for several slaves, and the requests for them;
other neighbours hear of that.

Not judged: openings, which are under TLS only and may end or begin a session; and a frame that was
held back and is the next in order, for that is a right one.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kms.domain.effects import (
    Alarm,
    Answer,
    Audit,
    Disconnect,
    Effect,
    Note,
    Save,
    SendFrame,
    WipeMaterial,
)
from kms.domain.events import Event, PeerFrame
from kms.domain.frame import HEADER_BYTES, Kind
from kms.domain.keyrequests import KeysReply, Outcome
from kms.domain.names import LinkId
from kms.domain.records import BundleRecord, BundleState
from kms.simulation.checker import Checker
from kms.simulation.checkers.bundles import ENTRUSTED

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

# More than an attacker keeps of each direction.
_REMEMBERED = 512


class _Frames:
    """The last frames of one link, as they were sent and as they arrived unchanged."""

    def __init__(self) -> None:
        self.sent: dict[bytes, None] = {}
        self.arrived: dict[bytes, None] = {}


class Ignored(Checker):
    """What altered frames bring about."""

    invariant = "I9"

    def __init__(self, simulation: "Simulation") -> None:
        super().__init__(simulation)
        self._frames: dict[LinkId, _Frames] = {}
        self._judged: tuple[PeerFrame, tuple[object, ...]] | None = None

    def sent(self, site: "Site", link: LinkId, data: bytes) -> None:
        frames = self._frames.setdefault(link, _Frames())
        _remember(frames.sent, data)

    def arrives(self, site: "Site", frame: PeerFrame) -> None:
        _remember(self._frames[frame.link].arrived, frame.data)

    def altered(self, site: "Site", frame: PeerFrame) -> None:
        frames = self._frames.setdefault(frame.link, _Frames())
        right = frame.data in frames.sent and frame.data not in frames.arrived
        opening = len(frame.data) >= HEADER_BYTES and frame.data[1] == Kind.OPENING
        if right:
            _remember(frames.arrived, frame.data)
        self._judged = None if right or opening else (frame, _state(site, frame.link))

    def batch(self, site: "Site", events: Sequence[Event], effects: Sequence[Effect]) -> None:
        if self._judged is None or not events or events[0] is not self._judged[0]:
            return
        frame, before = self._judged
        self._judged = None
        ends = any(isinstance(each, Disconnect) for each in effects)
        wrong = [
            type(each).__name__
            for each in effects
            if not isinstance(each, Alarm | Disconnect | Note)
            and not (isinstance(each, Audit) and each.entry.event == "alarm")
            and not (ends and _was_under_way(each, frame.link))
        ]
        self.holds(not wrong, f"an altered frame of {frame.link} makes {site.place} do {wrong}")
        self.holds(
            _state(site, frame.link) == before,
            f"an altered frame of {frame.link} changes what {site.place} remembers",
        )


def _was_under_way(effect: Effect, link: LinkId) -> bool:
    """Whether this is how keys for several end, of which nobody has one."""
    if isinstance(effect, SendFrame):
        return effect.link != link
    if isinstance(effect, Answer):
        reply = effect.reply
        return isinstance(reply, KeysReply) and reply.outcome is Outcome.UNAVAILABLE
    if isinstance(effect, Save):
        record = effect.record
        return isinstance(record, BundleRecord) and record.state is BundleState.ENDED
    if isinstance(effect, WipeMaterial):
        return effect.material.startswith(ENTRUSTED)
    return isinstance(effect, Audit) and effect.entry.event == "keys-destroyed"


def _remember(frames: dict[bytes, None], data: bytes) -> None:
    frames[data] = None
    if len(frames) > _REMEMBERED:
        del frames[next(iter(frames))]


def _state(site: "Site", attacked: LinkId) -> tuple[object, ...]:
    """All that a node remembers for longer than a session, and the windows of this one. Over other
    links it may say something meanwhile."""
    found: list[object] = []
    for name, link in site.node.links.items():
        memory = link.memory
        found += [memory.state, memory.epoch, memory.secrets, memory.log_hash, memory.alarm]
        found.append(link.guard.alarmed)
        found.append(tuple(link.agreement.held))
        found += [link.agreement.log.settled, len(link.agreement._offered)]
        found += [(pad.granted, pad.extents.end) for pad in memory.pads]
        pads = memory.pads if name == attacked else (memory.reader,)
        found += [(pad.mark, pad.window.held) for pad in pads]
    register = site.node.streams._register
    found += [(each.record, each.runs.ready) for each in register.streams.values()]
    found += [len(register.tombstones), len(register.waiting)]
    bundles = [each.record for each in register.bundles.by_name.values()]
    found += [each for each in bundles if each.state is BundleState.HELD]
    return tuple(found)
