"""One end of a link on the bench: its parts by hand, without a node around them."""

from uuid import UUID

from kms.domain import appendlog, limits
from kms.domain.agreement import Agreement
from kms.domain.appendlog import LogEntry
from kms.domain.direction import Direction
from kms.domain.effects import Alarm, Audit, Effect, Forget, Save, TakeMaterial, WipeMaterial
from kms.domain.events import BlockArrived
from kms.domain.extents import Extent
from kms.domain.linkmemory import LinkMemory
from kms.domain.moment import Moment
from kms.domain.names import BlockId, DeviceId, MaterialId, NodeId, SecretId
from kms.domain.outbox import Outbox
from kms.domain.pad import Pad
from kms.domain.records import BlockRecord, BlockState, LinkState, Record
from kms.domain.secret import Secret
from kms.domain.wire import Message
from tests.world import ALICE, BOB, LINK, SETTINGS, block_bits

SECRET = SecretId("5" * 32)
HASH_KEY = Secret(bytes(range(32)))
SIZE = 4096
"""of a block"""
LEADERS = Direction.FROM_LEADER


def outbox(mono_ms: int = 1_000) -> Outbox:
    return Outbox(Moment(mono_ms=mono_ms, wall_ms=1_700_000_000_000 + mono_ms))


def memory_of(node: NodeId = ALICE) -> LinkMemory:
    """An open link with an empty log. Alice leads."""
    made = LinkMemory(node, BOB if node == ALICE else ALICE, LINK, SETTINGS)
    made.state, made.epoch, made.secrets = LinkState.OPEN, 1, (SECRET,)
    made.log_hash = appendlog.begin(SECRET)
    return made


class Bench:
    """An agreement with its memory; ``sent`` is what it said."""

    def __init__(self, node: NodeId = ALICE) -> None:
        self.memory = memory_of(node)
        self.sent: list[Message] = []
        self.agreement = Agreement(self.memory, self.sent.append)
        self.log = self.agreement.log

    def store(self, number: int, *, bits: bytes | None = None, mono_ms: int = 1_000) -> str:
        event = block(number, bits=bits)
        return self.agreement.store(
            event, bytes(event.bits.expose()[:8]), HASH_KEY, outbox(mono_ms)
        )

    def said(self) -> list[Message]:
        """What was sent since the last call, that which was due included."""
        self.agreement.flush()
        said, self.sent[:] = list(self.sent), []
        return said


def block_id(number: int) -> BlockId:
    return BlockId(UUID(int=number))


def block(number: int, *, bits: bytes | None = None) -> BlockArrived:
    return BlockArrived(
        device=DeviceId("device"),
        link=LINK,
        block_id=block_id(number),
        bits=Secret(block_bits(number, limits.BLOCK_BYTES_MIN) if bits is None else bits),
        qber=0.01,
    )


def extend(
    pad: Pad, *lengths: int, hole: int = 0, burnt: bool = False, seq: int | None = None
) -> None:
    """The pad has these blocks at its end."""
    for length in lengths:
        number = len(list(pad.extents)) if seq is None else seq
        pad.extents.append(
            Extent(
                seq=number,
                start=pad.extents.end + hole,
                length=length,
                block_id=block_id(number),
                material=None if burnt else MaterialId(f"m{number}"),
            )
        )


def fill(pad: Pad, start: int, length: int) -> None:
    """These bytes are in the pad's window."""
    pad.window.add(start, Secret(bytes(at % 251 for at in range(start, start + length))))


def entry(bench: Bench, number: int, direction: Direction = LEADERS) -> LogEntry:
    return LogEntry(
        seq=bench.memory.log_count,
        block_id=block_id(number),
        direction=direction,
        start=bench.memory.pad(direction).extents.end,
        length=SIZE,
    )


def held(number: int) -> BlockRecord:
    return BlockRecord(
        link=LINK,
        block_id=block_id(number),
        state=BlockState.HELD,
        length=SIZE,
        material=MaterialId(f"m{number}"),
        device=DeviceId("device"),
        origin="quantum",
        qber=None,
        received_ms=5,
    )


def filled(count: int, node: str = "alice") -> Bench:
    """The first entry is number 0, at offset 0 of the leader's pad, and so on."""
    bench = Bench(ALICE if node == "alice" else BOB)
    for number in range(count):
        bench.log.append(entry(bench, number), held(number), outbox())
    return bench


def saved(out: Outbox) -> list[Record]:
    return [effect.record for effect in out.effects if isinstance(effect, Save)]


def forgotten(out: Outbox) -> list[Record]:
    return [effect.record for effect in out.effects if isinstance(effect, Forget)]


def ranges(out: Outbox, kind: type[TakeMaterial] | type[WipeMaterial]) -> list[object]:
    """Name, offset and length of what is taken, or wiped."""
    return [
        (effect.material, effect.offset, effect.length)
        for effect in out.effects
        if isinstance(effect, kind)
    ]


def audited(out: Outbox) -> list[tuple[str, str, object]]:
    """Event, subject and reason."""
    entries = [effect.entry for effect in out.effects if isinstance(effect, Audit)]
    return [(each.event, each.subject, each.detail.get("reason")) for each in entries]


def alarms(effects: list[Effect]) -> list[tuple[str, str]]:
    return [(each.kind, each.detail) for each in effects if isinstance(each, Alarm)]
