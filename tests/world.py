"""A small world for domain tests: whole nodes, a virtual clock, disks and wires one can break.

The world is the shell: it commits writes, then carries out outputs, one batch after the other, and
keeps a ledger of what left each node. Nothing here draws randomness or reads a clock.
"""

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from uuid import UUID

from kms.domain import limits
from kms.domain.attestation import Attestation
from kms.domain.effects import (
    Alarm,
    Answer,
    Attest,
    Audit,
    BlockStored,
    DeliverKey,
    DeliverKeys,
    Disconnect,
    Effect,
    Note,
    ReadMaterial,
    Refuse,
    SendFrame,
    TakeMaterial,
)
from kms.domain.events import (
    Asked,
    BlockArrived,
    Event,
    MaterialOpened,
    NetworkChanged,
    PeerConnected,
    PeerFrame,
    PeerLost,
    SecretCarried,
    Started,
    Tick,
)
from kms.domain.frame import HEADER_BYTES, Kind, read_header
from kms.domain.keyrequests import KeysReply, Outcome
from kms.domain.linkmemory import LinkSettings
from kms.domain.moment import Moment
from kms.domain.names import (
    KSID,
    BlockId,
    DeviceId,
    NodeId,
    SAEId,
    SecretId,
    link_id,
)
from kms.domain.node import Node
from kms.domain.policy import Policy, Rule
from kms.domain.requests import Request, bytes_wanted
from kms.domain.secret import Secret
from kms.simulation.disk import Disk

ALICE, BOB = NodeId("alice"), NodeId("bob")
LINK = link_id(ALICE, BOB)
ANN, BEN = SAEId("sae:ann"), SAEId("sae:ben")
SETTINGS = LinkSettings(pool_bytes_max=64 * limits.MIB, qber_max=0.11, block_expiry_ms=60_000)


def block_bits(number: int, length: int) -> bytes:
    """The bits that both devices give for block ``number``."""
    return hashlib.shake_256(f"block {number}".encode()).digest(length)


class Site:
    """One node with its disk; ``answers``, ``alarms`` and ``notes`` are what it said."""

    def __init__(self, name: NodeId, peers: Iterable[NodeId], *, watched: bool) -> None:
        self.name = name
        self.watched = watched
        self.witness: Attestation | None = None
        """outside the disk: no backup has it"""
        self.peers = tuple(peers)
        self.disk = Disk()
        self.inbox: deque[Event] = deque()
        self.answers: dict[int, object] = {}
        self.keys: dict[int, tuple[int, bytes]] = {}
        self.alarms: list[tuple[str, str]] = []
        self.audit: list[str] = []
        self.refused_blocks: list[str] = []
        self.boots = 0
        self.boot()

    def boot(self) -> None:
        """The process starts on whatever the disk holds."""
        self.inbox.clear()
        self.node = Node(self.name, dict.fromkeys(self.peers, SETTINGS), self.disk.records.values())
        fresh = f"{self.boots:032x}"
        self.boots += 1
        self.inbox.append(Started(watched=self.watched, attestation=self.witness, fresh=fresh))


class World:
    """Two or more sites on one clock."""

    def __init__(self, *names: NodeId, watched: bool = False) -> None:
        """``watched``: each site has a witness outside its disk."""
        names = names or (ALICE, BOB)
        self.now_ms = 1_000
        self.sites = {
            name: Site(name, [other for other in names if other != name], watched=watched)
            for name in names
        }
        self._sessions: dict[frozenset[NodeId], int] = {}
        self._session = 0
        self._request = 0
        self.wire: list[tuple[NodeId, bytes]] = []
        self.lose_frame: Callable[[NodeId, bytes], bool] = lambda sender, data: False
        self.wall_ahead_ms = 0
        """how far the wall clock jumped"""
        self.outputs_before_crash: Callable[[Site, list[Effect]], int | None] = lambda *_: None
        """asked once per batch: None goes well; -1 crashes before the commit, n after the commit
        and n effects carried out"""
        self.on_boot: Callable[[NodeId], None] = lambda name: None
        """told of each start after a crash"""
        self.watch: Callable[[Site, list[Effect]], None] = lambda site, effects: None
        """told of each batch when it is durable"""
        self.watch_output: Callable[[Site, Effect], None] = lambda site, effect: None
        """told of each output just before it is carried out"""
        self._pad_marks: dict[tuple[object, ...], int] = defaultdict(int)

    @property
    def moment(self) -> Moment:
        wall_ms = 1_700_000_000_000 + self.now_ms + self.wall_ahead_ms
        return Moment(mono_ms=self.now_ms, wall_ms=wall_ms)

    # ---- what one can do ----------------------------------------------------------------

    def settle(self) -> None:
        """Everything under way arrives and is answered; time stands still."""
        for _ in range(10_000):
            busy = [site for site in self.sites.values() if site.inbox]
            if not busy:
                return
            for site in busy:
                self._batch(site)
        raise AssertionError("the nodes never come to rest")

    def pass_time(self, ms: int, step_ms: int = 100) -> None:
        """The clock runs on, with a tick each step."""
        for _ in range(max(1, ms // step_ms)):
            self.now_ms += step_ms
            for site in self.sites.values():
                site.inbox.append(Tick())
            self.settle()

    def give_secret(
        self, one: NodeId = ALICE, other: NodeId = BOB, number: int = 1, *, settle: bool = True
    ) -> None:
        bits = hashlib.shake_256(f"secret {number}".encode()).digest(limits.SECRET_BYTES)
        for name in (one, other):
            self.sites[name].inbox.append(
                SecretCarried(
                    link=link_id(one, other),
                    secret_id=SecretId(f"{number:032x}"),
                    bits=Secret(bits),
                )
            )
        if settle:
            self.settle()

    def allow(self, directory: dict[SAEId, NodeId], *rules: Rule) -> None:
        """The SDN view, the same everywhere."""
        for site in self.sites.values():
            site.inbox.append(
                NetworkChanged(
                    neighbours=frozenset(site.peers),
                    directory=directory,
                    policy=Policy(rules=rules or (Rule(one="sae:*", other="sae:*"),)),
                )
            )
        self.settle()

    def connect(self, one: NodeId = ALICE, other: NodeId = BOB) -> None:
        self.connect_now(one, other)
        self.settle()

    def connect_now(self, one: NodeId = ALICE, other: NodeId = BOB) -> None:
        """The connection stands; neither end has heard of it yet."""
        pair = frozenset((one, other))
        assert pair not in self._sessions, "connected already"
        self._session += 1
        self._sessions[pair] = self._session
        for name in (one, other):
            self.sites[name].inbox.append(
                PeerConnected(link=link_id(one, other), session=self._session)
            )

    def cut(self, one: NodeId = ALICE, other: NodeId = BOB) -> None:
        """The connection is gone; frames that have not arrived are lost."""
        session = self._sessions.pop(frozenset((one, other)), None)
        if session is None:
            return
        link = link_id(one, other)
        for name in (one, other):
            site = self.sites[name]
            site.inbox = deque(
                event
                for event in site.inbox
                if not (isinstance(event, PeerFrame) and event.link == link)
            )
            site.inbox.append(PeerLost(link=link, session=session, reason="cut"))

    def connected(self, one: NodeId = ALICE, other: NodeId = BOB) -> bool:
        return frozenset((one, other)) in self._sessions

    def crash(self, name: NodeId, disk: Disk | None = None) -> None:
        """``kill -9`` and a new start, on the disk as it is or on an older one."""
        for peer in self.sites[name].peers:
            self.cut(name, peer)
        if disk is not None:
            self.sites[name].disk = disk
        self.sites[name].boot()
        self.on_boot(name)

    def block(
        self, number: int, *at: NodeId, length: int = 64 * limits.KIB, qber: float | None = None
    ) -> None:
        """The device pair delivers block ``number`` at these ends."""
        for name in at or (ALICE, BOB):
            self.block_of(number, block_bits(number, length), name, qber=qber)

    def block_of(self, number: int, bits: bytes, name: NodeId, qber: float | None = None) -> None:
        self.sites[name].inbox.append(
            BlockArrived(
                device=DeviceId(f"device-{name}"),
                link=LINK,
                block_id=BlockId(UUID(int=number)),
                bits=Secret(bits),
                qber=qber,
            )
        )

    def ask(self, name: NodeId, caller: SAEId, request: Request) -> int:
        """The number under which the answer will be found."""
        self._request += 1
        fresh = UUID(int=(0x4000 << 64) | (0x8000 << 48) | self._request)
        drawn = hashlib.shake_256(f"drawn {self._request}".encode()).digest(bytes_wanted(request))
        self.sites[name].inbox.append(
            Asked(
                request_id=self._request,
                caller=caller,
                request=request,
                fresh=KSID(fresh),
                drawn=Secret(drawn) if drawn else None,
            )
        )
        return self._request

    def answer(self, name: NodeId, caller: SAEId, request: Request) -> object:
        """The answer, once nothing is under way any more."""
        number = self.ask(name, caller, request)
        self.settle()
        return self.sites[name].answers.get(number)

    # ---- the shell ----------------------------------------------------------------------

    def step(self, name: NodeId, events_max: int) -> None:
        """One batch of so many events at the most."""
        self._batch(self.sites[name], events_max)

    def _batch(self, site: Site, events_max: int = 1_000_000) -> None:
        events = [site.inbox.popleft() for _ in range(min(len(site.inbox), events_max))]
        effects = site.node.handle_all(self.moment, events)
        crash_after = self.outputs_before_crash(site, effects)
        if crash_after is not None and crash_after < 0:
            self.crash(site.name)
            return
        site.disk.commit(effects)
        self.watch(site, effects)
        for effect in effects[:crash_after]:
            self.watch_output(site, effect)
            self._carry_out(site, effect)
        if crash_after is not None:
            self.crash(site.name)

    def _carry_out(self, site: Site, effect: Effect) -> None:
        match effect:
            case TakeMaterial() | ReadMaterial():
                bits = site.disk.read(effect.material, effect.offset, effect.length)
                if isinstance(effect, TakeMaterial):
                    site.disk.wipe(effect.material, effect.offset, effect.length)
                site.inbox.append(
                    MaterialOpened(
                        material=effect.material,
                        offset=effect.offset,
                        length=effect.length,
                        bits=bits,
                        reason="" if bits else "gone",
                    )
                )
            case Attest(attestation=attestation):
                site.witness = attestation
            case SendFrame():
                self._send(site, effect)
            case Disconnect(session=session):
                for pair, number in list(self._sessions.items()):
                    if number == session and site.name in pair:
                        self.cut(*pair)
            case Answer(request_id=request_id, reply=reply):
                assert request_id not in site.answers, "one answer to a request"
                site.answers[request_id] = reply
            case Refuse(request_id=request_id):
                site.answers[request_id] = effect
            case DeliverKey():
                bits = site.disk.read(effect.material, effect.offset, effect.length)
                rotten = effect.material in site.disk.unreadable
                assert bits is not None or rotten, "a delivered chunk is readable"
                site.answers[effect.request_id] = effect
                if bits is not None:
                    site.keys[effect.request_id] = (effect.index, bytes(bits.expose()))
            case DeliverKeys(stretches=stretches):
                found = [site.disk.read(s.material, s.offset, s.length) for s in stretches]
                whole = b"".join(bytes(bits.expose()) for bits in found if bits is not None)
                assert sum(s.length for s in stretches) == len(whole), "what is given is readable"
                site.answers[effect.request_id] = KeysReply(
                    outcome=Outcome.DELIVERED, key_ids=effect.key_ids, keys=Secret(whole)
                )
            case Alarm():
                site.alarms.append((effect.kind, effect.detail))
            case Audit():
                site.audit.append(effect.entry.event)
            case BlockStored():
                if effect.refused:
                    site.refused_blocks.append(effect.refused)
            case Note():
                pass

    def _send(self, site: Site, effect: SendFrame) -> None:
        pair = next((p for p, n in self._sessions.items() if n == effect.session), None)
        self._check_pad(site, effect)
        if pair is None:
            return
        self.wire.append((site.name, effect.data))
        if self.lose_frame(site.name, effect.data):
            return
        other = next(name for name in pair if name != site.name)
        self.sites[other].inbox.append(
            PeerFrame(link=effect.link, session=effect.session, data=effect.data)
        )

    def _check_pad(self, site: Site, effect: SendFrame) -> None:
        """I1: no frame uses a pad byte at or below one that was used before."""
        header = read_header(effect.data)
        if header.kind is Kind.OPENING:
            return
        memory = site.node.links[effect.link].memory
        pad = (effect.link, memory.secret_id, site.name)
        assert header.offset >= self._pad_marks[pad], "I1 a pad byte was used twice"
        used = len(effect.data) - HEADER_BYTES - limits.TAG_BYTES + limits.MAC_KEY_BYTES
        self._pad_marks[pad] = header.offset + used
