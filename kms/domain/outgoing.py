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
from kms.domain.secret import Secret
from kms.domain.wire import Grant, Message

_ARRAY_HEADER_BYTES = 3


class Outgoing:
    """Queue and seal of one link's own end."""

    def __init__(self, memory: LinkMemory) -> None:
        self._memory = memory
        self._queue: deque[bytes] = deque()
        self._grants: deque[bytes] = deque()
        self.frames = 0
        self.own_bytes = 0
        """pad spent on frames, not on key"""

    def __len__(self) -> int:
        return len(self._queue) + len(self._grants)

    def put(self, message: Message) -> None:
        queue = self._grants if isinstance(message, Grant) else self._queue
        queue.append(wire.encode_one(message))

    @property
    def overflown(self) -> bool:
        return len(self._queue) > limits.OUTBOX_MESSAGES_MAX

    def clear(self) -> None:
        self._queue.clear()
        self._grants.clear()

    def flush(self, session: int, out: Outbox) -> None:
        """As many queued messages as the window allows leave as frames."""
        while self._queue or self._grants:
            packed = self._pack(limits.FRAME_SECRET_BYTES_MAX)
            if packed:
                self._seal(packed, 0, session, out)
            elif self._memory.writer.window.behind_a_hole():
                self._memory.writer.window.skip_run()
            else:
                return

    def drawable(self) -> int:
        """Most key bytes that one draw gives now."""
        writer = self._memory.writer
        above = writer.level() - limits.RESERVE_BYTES
        return max(0, min(writer.available() - limits.DRAW_OVERHEAD_BYTES, above))

    def draw(self, message: Message, length: int, session: int, out: Outbox) -> Secret | None:
        """A frame with ``message``, and the ``length`` pad bytes right behind it; None if the
        window or the reserve does not allow."""
        window = self._memory.writer.window
        while self.drawable() < length and window.behind_a_hole():
            window.skip_run()
        if self.drawable() < length:
            return None
        return self._seal([wire.encode_one(message)], length, session, out)

    def _pack(self, bytes_max: int) -> list[bytes]:
        available = self._memory.writer.available() - limits.MAC_KEY_BYTES - _ARRAY_HEADER_BYTES
        packed: list[bytes] = []
        room = min(available, bytes_max)
        while self._grants and len(self._grants[0]) <= room:
            packed.append(self._grants.popleft())
            room -= len(packed[-1])
        room = min(room, available - limits.GRANT_KEEP_BYTES - sum(map(len, packed)))
        while (
            self._queue
            and len(self._queue[0]) <= room
            and len(packed) < limits.MESSAGES_PER_FRAME_MAX
        ):
            packed.append(self._queue.popleft())
            room -= len(packed[-1])
        return packed

    def _seal(self, packed: list[bytes], draw: int, session: int, out: Outbox) -> Secret:
        """The frame is in ``out``; the drawn bytes behind it."""
        memory = self._memory
        secret = wire.joined(packed)
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
