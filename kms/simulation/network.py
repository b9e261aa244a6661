"""The wires between the sites: sessions, and everything that happens to frames.

Theory of operation. A session is a TLS connection: in each direction frames arrive in order, once,
unaltered. Loss and delay in the network below show as time; a partition holds what is under way,
and after ten seconds of silence an end gives the session up; the other end learns it when it can.
Connections are tried again every second or so, as the real nodes do.

An *attacker inside TLS* (a stolen certificate and key, a broken library) is a fault of its own: it
drops, repeats, moves, swaps and alters single frames of a session that stands. The promise is then
only safety: nothing is used twice, nothing altered is believed.
"""

import random
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import attrs

from kms.domain import limits
from kms.domain.effects import SendFrame
from kms.domain.events import PeerConnected, PeerFrame, PeerLost
from kms.domain.names import LinkId, NodeId
from kms.simulation.topology import LinkSpec

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

# Old frames that an attacker keeps of each direction, to say them again.
_KEPT_FRAMES_MAX = 32
_ATTACKS_MAX = 64
_DIAL_MS = (500, 2_000)


ATTACKS = ("drop a frame", "repeat a frame", "move a frame", "alter a frame", "replay a frame")


@attrs.frozen(kw_only=True)
class AlteredFrame(PeerFrame):
    """Somebody changed, repeated or moved it. A site hears it in a batch of its own (I9)."""


class Wire:
    """One link's connection. ``ends`` are the sites that talk now: a clone takes its turn."""

    def __init__(self, simulation: "Simulation", spec: LinkSpec) -> None:
        self.simulation, self.loop, self.spec = simulation, simulation.loop, spec
        self.link = spec.link
        self.ends: dict[NodeId, Site] = {}
        self.session = 0
        self.up: dict[NodeId, int] = {}
        """the session that each end believes in"""
        self.blocked: set[NodeId] = set()
        """senders whose packets do not arrive"""
        self.clogged_until_us = 0
        self.slow_ms = 0.0
        self.loss = 0.0
        """share of packets that come one time-out later"""
        self.attacks: deque[str] = deque()
        """what happens to the next frames"""
        self.attacked = False
        """frames of this session were dropped, moved, altered"""
        self._random = random.Random(f"{simulation.seed}/wire/{self.link}")
        self._arrived_us: dict[NodeId, int] = {}
        self._held: dict[NodeId, list[tuple[PeerFrame, bool]]] = {}
        self._old: dict[NodeId, deque[bytes]] = {}

    # ---- sessions ---------------------------------------------------------------------------

    def dial_later(self) -> None:
        self.loop.after_ms(self._random.uniform(*_DIAL_MS), self._dial)

    def _dial(self) -> None:
        self.dial_later()
        sites = self.simulation.sites_of(self.link)
        if len(sites) < 2 or self.blocked or not all(each.running for each in sites):
            return
        new = {each.name: each for each in sites}
        if len(self.up) == 2 and new == self.ends:
            return
        for name in list(self.up):
            self.lost(name, "another connection took its place")
        self.session = self.simulation.next_number()
        self.attacked = False
        self.ends = new
        self._held.clear()
        self._arrived_us.clear()
        for site in sites:
            session = self.session
            self.up[site.name] = session
            site.put(PeerConnected(link=self.link, session=session))

    def lost(self, name: NodeId, reason: str) -> None:
        """This end gives its session up, now."""
        session = self.up.pop(name, None)
        if session is not None:
            self.ends[name].put(PeerLost(link=self.link, session=session, reason=reason))

    def close(self, name: NodeId, reason: str, *, silent: bool = False) -> None:
        """This end ends the session; the other one hears of it, unless nobody tells it."""
        session = self.up.get(name)
        self.lost(name, reason)
        for other in list(self.up):
            if not silent and name not in self.blocked:
                self.loop.after_ms(self._delay_ms(), partial(self._closed, other, session))
            else:
                self._silence_later(other, session)

    def _closed(self, name: NodeId, session: int | None) -> None:
        if self.up.get(name) == session:
            self.lost(name, "closed by the neighbour")

    def _silence_later(self, name: NodeId, session: int | None) -> None:
        wait = limits.PEER_SILENCE_MAX_MS
        self.loop.after_ms(wait, partial(self._closed, name, session))

    def block(self, sender: NodeId) -> None:
        """From now on nothing that this end sends arrives."""
        if sender in self.blocked:
            return
        self.blocked.add(sender)
        for name, session in list(self.up.items()):
            if name != sender:
                self.loop.after_ms(
                    limits.PEER_SILENCE_MAX_MS,
                    partial(self._silent, name, sender, session),
                )

    def _silent(self, name: NodeId, sender: NodeId, session: int) -> None:
        if sender in self.blocked and self.up.get(name) == session:
            self.close(name, "silence")

    def unblock(self) -> None:
        """Packets pass again: what was under way arrives now, if its session still stands."""
        self.blocked.clear()
        held, self._held = self._held, {}
        for name, frames in held.items():
            for frame, altered in frames:
                self._arrive_later(name, frame, altered)

    def attack(self, what: Iterable[str]) -> None:
        """An attacker inside TLS does this to the next frames."""
        if self.up and len(self.attacks) < _ATTACKS_MAX:
            self.attacks.extend(what)

    def heal(self) -> None:
        """The wire is as it should be; a session that an attacker was in ends with him."""
        self.attacks.clear()
        self.slow_ms = self.loss = 0.0
        self.clogged_until_us = 0
        if self.attacked and self.up:
            self.close(next(iter(self.up)), "the attacker is gone")
        self.unblock()

    # ---- frames -----------------------------------------------------------------------------

    def send(self, site: "Site", effect: SendFrame) -> None:
        """The frame is on its way, if the session still stands at this end."""
        if self.up.get(site.name) != effect.session or self.ends[site.name] is not site:
            return
        other = next((name for name in self.ends if name != site.name), None)
        if other is None or other not in self.up:
            return  # The other end is gone, and this one has not heard of it yet.
        frame = PeerFrame(link=self.link, session=effect.session, data=effect.data)
        for each, altered in self._attacked(site.name, frame):
            if site.name in self.blocked:
                self._held.setdefault(other, []).append((each, altered))
            else:
                self._arrive_later(other, each, altered)

    def _arrive_later(self, name: NodeId, frame: PeerFrame, altered: bool) -> None:
        now = self.loop.now_us
        due = now + int(self._delay_ms() * 1000)
        due = max(due, self._arrived_us.get(name, 0), self.clogged_until_us)
        self._arrived_us[name] = due
        self.loop.after_us(due - now, partial(self._arrive, name, frame, altered))

    def _arrive(self, name: NodeId, frame: PeerFrame, altered: bool) -> None:
        if self.up.get(name) == frame.session:
            site = self.ends[name]
            if altered:
                frame = AlteredFrame(link=frame.link, session=frame.session, data=frame.data)
            else:
                self.simulation.watch.tell("arrives", site, frame)
            site.put(frame)

    def _delay_ms(self) -> float:
        delay = self.spec.delay_ms * self._random.uniform(1.0, 1.3) + self.slow_ms
        if self.loss and self._random.random() < self.loss:
            self.simulation.fired("lost packet")
            delay += 200.0
        return delay

    def _attacked(self, sender: NodeId, frame: PeerFrame) -> list[tuple[PeerFrame, bool]]:
        """What an attacker inside TLS makes of the frame."""
        old = self._old.setdefault(sender, deque(maxlen=_KEPT_FRAMES_MAX))
        old.append(frame.data)
        if not self.attacks:
            return [(frame, False)]
        attack = self.attacks.popleft()
        self.attacked = True
        self.simulation.fired(attack)
        if attack == "drop a frame":
            return []
        if attack == "repeat a frame":
            return [(frame, False), (frame, True)]
        if attack == "replay a frame":
            return [(frame, False), (attrs.evolve(frame, data=self._random.choice(old)), True)]
        if attack == "alter a frame":
            return [(attrs.evolve(frame, data=self._altered(frame.data)), True)]
        moved = self._random.uniform(1.0, 50.0)
        other = next(name for name in self.ends if name != sender)
        self.loop.after_ms(moved, partial(self._arrive, other, frame, True))
        return []

    def _altered(self, data: bytes) -> bytes:
        changed = bytearray(data)
        how = self._random.randrange(4)
        if how == 0 or len(data) < 2:
            changed[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        elif how == 1:
            del changed[self._random.randrange(1, len(data)) :]
        elif how == 2:
            changed += self._random.randbytes(self._random.randrange(1, 64))
        else:
            at = self._random.randrange(len(data) - 1)
            changed[at : at + 16] = self._random.randbytes(min(16, len(data) - at))
        return bytes(changed)


class Network:
    """All wires of a simulation."""

    def __init__(self, simulation: "Simulation") -> None:
        self.simulation = simulation
        self.wires: dict[LinkId, Wire] = {
            each.link: Wire(simulation, each) for each in simulation.topology.link
        }

    def begin(self) -> None:
        for wire in self.wires.values():
            wire.dial_later()

    def send(self, site: "Site", effect: SendFrame) -> None:
        self.simulation.watch.tell("sent", site, effect.link, effect.data)
        self.wires[effect.link].send(site, effect)

    def disconnect(self, site: "Site", link: LinkId, session: int) -> None:
        """The node ends its session."""
        wire = self.wires[link]
        if wire.up.get(site.name) == session and wire.ends[site.name] is site:
            wire.close(site.name, "ended by this node")

    def site_stopped(self, site: "Site", *, power: bool) -> None:
        """The process is gone: its kernel says so to the neighbours, unless that is gone too."""
        for wire in self.wires.values():
            if wire.ends.get(site.name) is site and site.name in wire.up:
                wire.close(site.name, "the process ended", silent=power)

    def heal(self) -> None:
        """Every wire is as it should be."""
        for wire in self.wires.values():
            wire.heal()
