"""What a stream sees of its link: a place to send messages and to draw key from."""

from typing import Protocol

from kms.domain.names import LinkId, NodeId
from kms.domain.outbox import Outbox
from kms.domain.secret import Secret
from kms.domain.wire import Designate, Entrust, Message


class Channel(Protocol):
    """One link, as the streams above it see it. Implemented by ``link.Link``."""

    @property
    def link(self) -> LinkId: ...

    @property
    def peer(self) -> NodeId: ...

    @property
    def boot(self) -> int:
        """This process: no other of this node, nor of a copy of it, has the number."""
        ...

    @property
    def continuous(self) -> bool:
        """Both ends of the session that stands are the processes that they were in the last one."""
        ...

    @property
    def up(self) -> bool:
        """Both hellos are durable: messages flow."""
        ...

    @property
    def alarmed(self) -> str:
        """Why no key of this link may be served (I13); empty when it may."""
        ...

    def send(self, message: Message) -> None:
        """Queued for the next frame; lost if the session ends (streams say it all again after
        the next hello)."""
        ...

    def drawable(self) -> int:
        """Most bytes that ``draw`` would give now."""
        ...

    def level(self) -> int:
        """Unspent bytes above the reserve in the pad this end writes, opened or not."""
        ...

    def peer_level(self) -> int:
        """The same of the pad that the neighbour writes, out of which it makes its streams' key."""
        ...

    def level_max(self) -> int:
        """Most that ``level`` is to become: by the pool's ceiling."""
        ...

    def want(self, length: int) -> None:
        """A draw of this many bytes is waited for: the window should grow to hold it."""
        ...

    def rate_bps(self) -> float:
        """Agreed key, bit/s, averaged over the last minute or so."""
        ...

    def entrust(self, message: Entrust, out: Outbox) -> bool:
        """Whether the window holds a frame with this one message now: it is in ``out`` then, behind
        everything that was queued. Never below the reserve."""
        ...

    def draw(self, message: Designate, length: int, out: Outbox) -> Secret | None:
        """The ``length`` pad bytes that the peer will take for ``message``, or None if the window
        does not hold them. A frame with everything queued and ``message`` is in ``out``."""
        ...
