"""What a node has to say to its neighbour, sealed into frames as the window allows.

Messages wait here until pad is granted; grants go first, and a little pad is kept for them alone,
so that two ends that both ran low can always raise each other's window. Bounded: a neighbour that
never grants makes the session end, and everything is said again after the next hello.
"""

from collections import deque

from kms.domain import frame, limits, wire
from kms.domain.effects import SendFrame
from kms.domain.linkmemory import LinkMemory
from kms.domain.outbox import Outbox
from kms.domain.secret import Secret, zero
from kms.domain.wire import Burnt, Entrust, Grant, Message, StreamMessage, Want

_ARRAY_HEADER_BYTES = 3


class Outgoing:
    """Queue and seal of one link's own end."""

    def __init__(self, memory: LinkMemory) -> None:
        self._memory = memory
        self._grants: deque[bytes] = deque()
        """grants, and before each what is burnt of it: in order"""
        self._agreement: deque[bytes] = deque()
        self._streams: deque[bytes] = deque()
        self.frames = 0
        self.own_bytes = 0
        """pad spent on frames, not on key"""

    def __len__(self) -> int:
        return len(self._grants) + len(self._agreement) + len(self._streams)

    def put(self, message: Message) -> None:
        if isinstance(message, Grant | Burnt):
            queue = self._grants
        elif isinstance(message, StreamMessage | Want):
            queue = self._streams
        else:
            queue = self._agreement
        queue.append(wire.encode_one(message))

    @property
    def overflown(self) -> bool:
        return len(self) > limits.OUTBOX_MESSAGES_MAX

    @property
    def mute(self) -> bool:
        """Whether the window is too small for what the two nodes have to say to each other."""
        opening = self._memory.writer.opening
        return bool(self._grants or self._agreement) and not opening

    def clear(self) -> None:
        for queue in (self._grants, self._agreement, self._streams):
            queue.clear()

    def flush(self, session: int, out: Outbox) -> None:
        """As many queued messages as the window allows leave as frames."""
        while len(self):
            packed = self._pack(limits.FRAME_SECRET_BYTES_MAX)
            if packed:
                self._seal(packed, 0, session, out)
            elif self._starved() and self._memory.writer.window.behind_a_hole():
                self._memory.writer.window.skip_run()
            else:
                return

    def make_room(self, length: int) -> None:
        """The window begins with a run that gives ``length`` bytes, if it holds one: shorter runs
        before a hole are burnt, or a large chunk would wait behind the hole for ever."""
        window, need = self._memory.writer.window, length + limits.DRAW_OVERHEAD_BYTES
        if window.longest_run() >= need:
            while window.run() < need:
                window.skip_run()

    def drawable(self) -> int:
        """Most key bytes that one draw gives now."""
        writer = self._memory.writer
        return max(0, min(writer.available() - limits.DRAW_OVERHEAD_BYTES, writer.above_reserve()))

    def draw(self, message: Message, length: int, session: int, out: Outbox) -> Secret | None:
        """A frame with ``message``, and the ``length`` pad bytes right behind it; None if the
        window or the reserve does not allow."""
        if self.drawable() < length:
            return None
        return self._seal([wire.encode_one(message)], length, session, out)

    def entrust(self, message: Entrust, session: int, out: Outbox) -> bool:
        """Whether a frame with ``message`` is in ``out``, behind what was queued: if the window and
        the reserve allow."""
        self.flush(session, out)
        if self.drawable() < wire.entrust_bytes(message.master, message.slaves, len(message.keys)):
            return False
        secret = wire.encode_entrust(message)
        self._seal_secret(secret, 0, session, out)
        zero(secret)
        return True

    def _pack(self, bytes_max: int) -> list[bytes]:
        available = self._memory.writer.available() - limits.MAC_KEY_BYTES - _ARRAY_HEADER_BYTES
        # Each kind keeps pad for those before it: streams leave what agreement needs to get the
        # next block, agreement what a grant needs.
        spare = self._memory.writer.level() - self._kept()
        kinds = (
            (self._grants, available),
            (self._agreement, available - limits.GRANT_KEEP_BYTES),
            (
                self._streams,
                min(available - limits.GRANT_KEEP_BYTES, spare),
            ),
        )
        packed: list[bytes] = []
        used = 0
        for queue, most in kinds:
            most = min(most, bytes_max)
            while (
                queue
                and used + len(queue[0]) <= most
                and len(packed) < limits.MESSAGES_PER_FRAME_MAX
            ):
                packed.append(queue.popleft())
                used += len(packed[-1])
        return packed

    def _starved(self) -> bool:
        """Whether it is the window that holds something up, not the reserve."""
        low = self._memory.writer.level() <= self._kept() + limits.DRAW_OVERHEAD_BYTES
        return bool(self._grants or self._agreement or (self._streams and not low))

    def _kept(self) -> int:
        """What messages about streams leave of the level."""
        return self._memory.writer.reserve() // limits.STREAM_KEEP_SHARE

    def _seal(self, packed: list[bytes], draw: int, session: int, out: Outbox) -> Secret:
        """The frame is in ``out``; the drawn bytes behind it."""
        return self._seal_secret(wire.joined(packed), draw, session, out)

    def _seal_secret(
        self, secret: bytes | bytearray, draw: int, session: int, out: Outbox
    ) -> Secret:
        memory = self._memory
        own = frame.overhead(len(secret))
        offset, bits = memory.writer.take(own + draw)
        pad = bits.part(0, own)
        drawn = bits.part(own, draw)
        context = frame.context(memory.link, memory.secret_id, memory.writer.direction)
        data = frame.seal(context, memory.epoch, offset, pad, secret)
        bits.wipe()
        pad.wipe()
        self.frames += 1
        self.own_bytes += own
        out.add(SendFrame(link=memory.link, session=session, data=data))
        return drawn
