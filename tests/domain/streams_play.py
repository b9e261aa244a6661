"""Two ends of streams, played by hand: real messages over a wire that can lose them, one clock,
disks that hold what was committed, and a ledger of every key that was delivered (I2).

``Pair`` is the shell of both ends: it lets ``Streams`` handle events, commits the writes, then lets
answers and messages out. Pad bits are a fixed sequence per direction, the same at both ends.
"""

import hashlib
from collections import deque
from collections.abc import Callable
from uuid import UUID

from kms.domain import limits
from kms.domain.audit import AuditEntry
from kms.domain.effects import (
    Answer,
    Audit,
    DeliverKey,
    DeliverKeys,
    Forget,
    Refuse,
    Save,
    StoreMaterial,
    WipeMaterial,
)
from kms.domain.events import Asked, HungUp, KeysOrdered, NetworkChanged
from kms.domain.keyrequests import KeysReply, Outcome, PairStatusReply
from kms.domain.keyruns import KeyRuns
from kms.domain.moment import Moment
from kms.domain.names import KSID, LinkId, MaterialId, NodeId, SAEId, link_id
from kms.domain.orders import Act, KeyOrder, OrderDone
from kms.domain.outbox import Outbox
from kms.domain.policy import Policy, Rule
from kms.domain.records import HoldRecord, KeyRunRecord, Record, StreamRecord
from kms.domain.requests import Close, GetKey, OpenConnect, Reply, Request
from kms.domain.secret import Secret
from kms.domain.status import QoS, Status
from kms.domain.streams import Streams
from kms.domain.wire import Designate, Message, decode, encode

A, B = NodeId("alice"), NodeId("bob")
"""Alice leads."""
LINK = link_id(A, B)
ANN, BEN = SAEId("sae:ann.alice"), SAEId("sae:ben.bob")
EVE = SAEId("sae:eve.alice")
STRANGER = SAEId("sae:stranger.alice")
DIRECTORY = {ANN: A, EVE: A, STRANGER: A, BEN: B}
POLICY = Policy(rules=(Rule(one="sae:ann.*", other="sae:*"), Rule(one="sae:eve.*", other="sae:*")))
KNOWN = KSID(UUID("11111111-1111-4111-8111-111111111111"))


def key_of(number: int) -> KSID:
    """A KSID for the ``number``-th stream."""
    return KSID(UUID(int=number << 80 | 0x4000 << 64 | 0x8000 << 48 | number))


class FakeChannel:
    """One end of a link. What is sent waits in ``leaving`` until its batch is committed."""

    def __init__(self, link: LinkId, peer: NodeId, seed: str) -> None:
        self.link = link
        self.peer = peer
        self.up = False
        self.alarmed = ""
        self.stock = 64 * limits.MIB
        self.peer_stock: int | None = None
        """None: as ``stock``"""
        self.window = 8 * limits.MIB
        self.rate = 1_000_000.0
        self.wanted: list[int] = []
        self.leaving: list[tuple[bytes, Secret | None]] = []
        self.sent: list[Message] = []
        self.boot = 0
        self.continuous = False
        self._seed = seed
        self._offset = 0

    def send(self, message: Message) -> None:
        assert self.up, "sent on a link that is down"
        self.sent.append(message)
        self.leaving.append((encode([message]), None))

    def drawable(self) -> int:
        return min(self.window, self.stock) if self.up else 0

    def level(self) -> int:
        return self.stock

    def peer_level(self) -> int:
        return self.peer_stock if self.peer_stock is not None else self.stock

    def level_max(self) -> int:
        return 64 * limits.MIB

    def want(self, length: int) -> None:
        self.wanted.append(length)

    def rate_bps(self) -> float:
        return self.rate

    def draw(self, message: Designate, length: int, out: Outbox) -> Secret | None:
        assert not self.alarmed, "I13 drawn under alarm"
        if length > self.drawable():
            return None
        bits = hashlib.shake_256(f"{self._seed} {self._offset}".encode()).digest(length)
        self._offset += length
        self.stock -= length
        self.window -= length
        self.sent.append(message)
        self.leaving.append((encode([message]), Secret(bits)))
        return Secret(bits)


class Disk:
    """What one end has committed."""

    def __init__(self) -> None:
        self.records: dict[tuple[object, ...], Record] = {}
        self.material: dict[MaterialId, bytearray] = {}
        self.names: set[MaterialId] = set()

    def commit(self, effects: list[object]) -> None:
        for effect in effects:
            match effect:
                case Save(record=record):
                    self.records[_key(record)] = record
                case Forget(record=record):
                    assert _key(record) in self.records, "forgets only what was saved"
                    del self.records[_key(record)]
                case StoreMaterial(material=material, bits=bits, unit_bytes=unit):
                    assert material not in self.names, "a material's name is never used again"
                    assert unit > 0, "units have a size"
                    self.names.add(material)
                    self.material[material] = bytearray(bits.expose())
                case WipeMaterial(material=material, offset=offset, length=length):
                    kept = self.material[material]
                    assert offset + length <= len(kept), "wipes inside the material"
                    kept[offset : offset + length] = bytes(length)

    def read(self, material: MaterialId, offset: int, length: int) -> bytes:
        bits = bytes(self.material[material][offset : offset + length])
        assert len(bits) == length, "reads inside the material"
        assert any(bits), "reads what is not wiped"
        return bits

    def streams(self) -> list[StreamRecord | KeyRunRecord | HoldRecord]:
        kinds = StreamRecord | KeyRunRecord | HoldRecord
        return [r for r in self.records.values() if isinstance(r, kinds)]

    def copy(self) -> "Disk":
        twin = Disk()
        twin.records = dict(self.records)
        twin.material = {name: bytearray(bits) for name, bits in self.material.items()}
        twin.names = set(self.names)
        return twin


class End:
    """One node's streams with the shell around them."""

    def __init__(self, node: NodeId, peer: NodeId) -> None:
        self.node = node
        self.disk = Disk()
        self.channel = FakeChannel(LINK, peer, f"pad of {node}")
        self.effects: list[object] = []
        """of the last batch"""
        self.answers: dict[int, Reply | Refuse] = {}
        self.keys: dict[int, DeliverKey] = {}
        self.handed: dict[int, DeliverKeys] = {}
        self.audit: list[AuditEntry] = []
        self.inbox: deque[tuple[bytes, Secret | None]] = deque()
        self.boot()

    def boot(self) -> None:
        # Another process each time, on whatever disk.
        self.channel.boot += 1 << 28
        self.streams = Streams(self.node, self.disk.streams(), {LINK: self.channel})

    def stream(self, ksid: KSID = KNOWN) -> StreamRecord:
        """The stream as it is on disk."""
        record = self.disk.records[(StreamRecord, ksid)]
        assert isinstance(record, StreamRecord)
        return record

    def runs(self, ksid: KSID = KNOWN) -> KeyRuns:
        """The chunks as they are on disk."""
        found = [
            r for r in self.disk.records.values() if isinstance(r, KeyRunRecord) and r.ksid == ksid
        ]
        return KeyRuns(ksid, found)


class Pair:
    """Both ends, linked unless ``linked`` is False."""

    def __init__(self, *, linked: bool = True) -> None:
        self.now = Moment(mono_ms=1_000_000, wall_ms=1_700_000_000_000)
        self.ends = {A: End(A, B), B: End(B, A)}
        self.ledger: dict[tuple[KSID, int], bytes] = {}
        """I2: what was delivered, whoever came first"""
        self.delivered: list[tuple[NodeId, KSID, int]] = []
        self.by_id: dict[bytes, bytes] = {}
        """the same of keys with IDs"""
        self.fetched: set[tuple[NodeId, bytes]] = set()
        self.unreadable: dict[NodeId, set[MaterialId]] = {}
        """what a restored end cannot read: the application gets an error"""
        self.nameless = False
        """the source of randomness fails"""
        self._met: tuple[int, ...] = ()
        self._requests = 0
        self._ksids: dict[int, KSID] = {}
        self.tell_network()
        if linked:
            self.link()
            self.settle()

    @property
    def a(self) -> End:
        return self.ends[A]

    @property
    def b(self) -> End:
        return self.ends[B]

    # ---- events -----------------------------------------------------------------------------

    def batch(self, node: NodeId, *steps: Callable[[Streams, Outbox], None]) -> list[object]:
        """One batch at one end: steps, end of batch, commit, then what leaves."""
        end, out = self.ends[node], Outbox(self.now)
        for step in steps:
            step(end.streams, out)
        end.streams.replenish(out)
        self._commit(end, out)
        return end.effects

    def ask(self, node: NodeId, caller: SAEId, request: Request, fresh: KSID | None = None) -> int:
        """The request's number; its answer comes into ``answers`` or ``keys``."""
        self._requests += 1
        number = self._requests
        if isinstance(request, GetKey | Close):
            self._ksids[number] = request.ksid
        event = Asked(
            request_id=number,
            caller=caller,
            request=request,
            fresh=None if self.nameless else fresh or key_of(1000 + number),
        )
        self.batch(node, lambda streams, out: streams.asked(event, out))
        return number

    def open(
        self,
        node: NodeId,
        caller: SAEId,
        ksid: KSID | None = None,
        *,
        qos: QoS | None = None,
        other: SAEId | None = None,
    ) -> int:
        peer = other or (BEN if caller != BEN else ANN)
        request = OpenConnect(source=caller, destination=peer, qos=qos or QoS(), ksid=ksid)
        return self.ask(node, caller, request)

    def get(
        self,
        node: NodeId,
        index: int | None = None,
        *,
        ksid: KSID = KNOWN,
        caller: SAEId | None = None,
        metadata_size: int | None = None,
        chunk_bytes_max: int | None = None,
    ) -> int:
        request = GetKey(
            ksid=ksid, index=index, metadata_size=metadata_size, chunk_bytes_max=chunk_bytes_max
        )
        return self.ask(node, caller or (ANN if node == A else BEN), request)

    def close(self, node: NodeId, ksid: KSID = KNOWN, caller: SAEId | None = None) -> int:
        return self.ask(node, caller or (ANN if node == A else BEN), Close(ksid=ksid))

    def order(
        self,
        node: NodeId,
        act: Act,
        first: int = 0,
        count: int | None = None,
        *,
        ksid: KSID | None = None,
        link: LinkId | None = None,
        key_id: UUID | None = None,
        settle: bool = True,
    ) -> OrderDone:
        """What came of an operator's order at this end; the stream is KNOWN if nothing is named."""
        if link is None and key_id is None:
            ksid = ksid or KNOWN
        order = KeyOrder(
            act=act,
            ksid=ksid,
            link=link,
            key_id=key_id,
            first=first,
            count=count,
            operator="olga",
            reason="a laptop was lost",
        )
        self._requests += 1
        number = self._requests
        event = KeysOrdered(request_id=number, order=order)
        self.batch(node, lambda streams, out: streams.ordered(event, out))
        if settle:
            self.settle()
        done = self.ends[node].answers[number]
        assert isinstance(done, OrderDone)
        return done

    def hang_up(self, node: NodeId, number: int) -> None:
        self.batch(node, lambda streams, out: streams.hung_up(HungUp(request_id=number), out))

    def tell_network(
        self, directory: dict[SAEId, NodeId] = DIRECTORY, policy: Policy = POLICY
    ) -> None:
        event = NetworkChanged(neighbours=frozenset(self.ends), directory=directory, policy=policy)
        for node in self.ends:
            self.batch(node, lambda streams, out: streams.network(event, out))

    def tell(self, node: NodeId, policy: Policy) -> None:
        """One end has another policy than the other."""
        event = NetworkChanged(neighbours=frozenset(self.ends), directory=DIRECTORY, policy=policy)
        self.batch(node, lambda streams, out: streams.network(event, out))

    def compromise(self, node: NodeId, reason: str) -> None:
        self.batch(node, lambda streams, out: streams.compromise(LINK, reason, out))

    def link(self) -> None:
        """Both hellos are durable."""
        processes = tuple(end.channel.boot for end in self.ends.values())
        for end in self.ends.values():
            end.channel.up = True
            end.channel.continuous = processes == self._met
        self._met = processes
        for node in self.ends:
            self.batch(node, lambda streams, out: streams.linked(LINK, out))

    def cut(self) -> None:
        """The connection is gone, with everything under way."""
        for end in self.ends.values():
            end.channel.up = False
            end.inbox.clear()
        for node in self.ends:
            self.batch(node, lambda streams, out: streams.unlinked(LINK, out))

    def crash(self, node: NodeId, disk: Disk | None = None) -> None:
        """``kill -9`` and a new process, on this disk or an older one; the link is down."""
        self.cut()
        end = self.ends[node]
        end.disk = disk or end.disk
        end.boot()
        event = NetworkChanged(neighbours=frozenset(self.ends), directory=DIRECTORY, policy=POLICY)
        self.batch(node, lambda streams, out: streams.network(event, out))

    def hear(self, node: NodeId, most: int = 1) -> int:
        """``node`` handles the next messages in one batch; how many there were."""
        end, out, heard = self.ends[node], Outbox(self.now), 0
        while end.inbox and heard < most:
            data, bits = end.inbox.popleft()
            (message,) = decode(data)
            end.streams.on_message(LINK, message, bits, out)  # type: ignore[arg-type]
            heard += 1
        end.streams.replenish(out)
        self._commit(end, out)
        return heard

    def settle(self) -> None:
        """Everything under way arrives."""
        for _ in range(20_000):
            due = [
                node
                for node, end in self.ends.items()
                if (at_ms := end.streams.deadline_ms()) is not None and at_ms <= self.now.mono_ms
            ]
            for node in due:
                self.batch(node, lambda streams, out: streams.tick(out))
            if not sum(self.hear(node, 1000) for node in self.ends) and not due:
                return
        raise AssertionError("the two ends never come to rest")

    def pass_ms(self, ms: int, *, wall_ms: int | None = None, tick: bool = True) -> None:
        """Both clocks run on; ``wall_ms`` if the wall clock jumps instead."""
        wall = ms if wall_ms is None else wall_ms
        self.now = Moment(mono_ms=self.now.mono_ms + ms, wall_ms=self.now.wall_ms + wall)
        if tick:
            self.tick()

    def tick(self) -> None:
        for node in self.ends:
            self.batch(node, lambda streams, out: streams.tick(out))
        self.settle()

    # ---- what came of it --------------------------------------------------------------------

    def status(self, node: NodeId, number: int) -> Status | None:
        """The request's status; None while it waits. A refusal has none: see ``answers``."""
        end = self.ends[node]
        if number in end.keys:
            return Status.SUCCESS
        answer = end.answers.get(number)
        assert not isinstance(answer, Refuse | KeysReply | PairStatusReply), answer
        return None if answer is None else answer.status

    def message(self, node: NodeId, number: int) -> str:
        return self.ends[node].answers[number].message

    def established(self, qos: QoS | None = None, ksid: KSID = KNOWN) -> "Pair":
        """A predefined stream that both applications have opened; Alice's end designates."""
        self.open(A, ANN, ksid, qos=qos)
        self.settle()
        number = self.open(B, BEN, ksid)
        self.settle()
        assert self.status(B, number) is Status.SUCCESS
        return self

    def read(self, node: NodeId, index: int | None = None, *, ksid: KSID = KNOWN) -> int:
        """The index of a key that is there at once."""
        number = self.get(node, index, ksid=ksid)
        return self.ends[node].keys[number].index

    # ---- the shell --------------------------------------------------------------------------

    def _commit(self, end: End, out: Outbox) -> None:
        end.effects = list(out.effects)
        end.disk.commit(end.effects)
        for effect in end.effects:
            match effect:
                case Audit(entry=entry):
                    end.audit.append(entry)
                case Answer(request_id=number, reply=reply):
                    assert number not in end.answers, "one answer"
                    assert number not in end.keys, "one answer"
                    end.answers[number] = reply
                case Refuse(request_id=number):
                    assert number not in end.answers, "one answer"
                    assert number not in end.keys, "one answer"
                    end.answers[number] = effect
                case DeliverKey(request_id=number):
                    assert number not in end.answers, "one answer"
                    assert number not in end.keys, "one answer"
                    end.keys[number] = effect
                    self._deliver(end, effect)
                case DeliverKeys(request_id=number):
                    assert number not in end.answers, "one answer"
                    end.handed[number] = effect
                    end.answers[number] = self._deliver_keys(end, effect)
        other = next(e for e in self.ends.values() if e is not end)
        if end.channel.up and other.channel.up:
            other.inbox.extend(end.channel.leaving)
        end.channel.leaving.clear()

    def _deliver(self, end: End, effect: DeliverKey) -> None:
        assert not end.channel.alarmed, "I13 served under alarm"
        if effect.material in self.unreadable.get(end.node, ()):
            return
        bits = end.disk.read(effect.material, effect.offset, effect.length)
        place = (self._ksids[effect.request_id], effect.index)
        assert self.ledger.setdefault(place, bits) == bits, "I2 both ends deliver the same key"
        self.delivered.append((end.node, *place))

    def _deliver_keys(self, end: End, effect: DeliverKeys) -> KeysReply:
        """As the shell does it; each key is compared by its ID with what was delivered before."""
        assert not end.channel.alarmed, "I13 served under alarm"
        keys = b"".join(end.disk.read(s.material, s.offset, s.length) for s in effect.stretches)
        ids = [effect.key_ids[at : at + 16] for at in range(0, len(effect.key_ids), 16)]
        size = len(keys) // len(ids)
        assert len(ids) * size == len(keys), "as many keys as IDs"
        assert sum(s.count for s in effect.stretches) == len(ids), "as many keys as IDs"
        for at, key_id in enumerate(ids):
            key = keys[at * size : (at + 1) * size]
            assert self.by_id.setdefault(key_id, key) == key, "I2 both ends deliver the same key"
            assert (end.node, key_id) not in self.fetched, "a key leaves once"
            self.fetched.add((end.node, key_id))
        return KeysReply(outcome=Outcome.DELIVERED, key_ids=effect.key_ids, keys=Secret(keys))


def _key(record: Record) -> tuple[object, ...]:
    return (type(record), *(getattr(record, name) for name in type(record).KEY))
