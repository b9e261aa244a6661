"""Peer: authenticated connections to the neighbour nodes."""

from typing import Never, Protocol

import attrs

from kms.domain.names import LinkId


class PeerInbox(Protocol):
    """What the node offers the peer adapter. Calls for one link come in this order: connected,
    frames, lost; and again with a larger session number."""

    async def connected(self, link: LinkId, session: int) -> None: ...

    async def frame(self, link: LinkId, session: int, data: bytes) -> None:
        """Waits while the node is busy: back-pressure on that connection only."""
        ...

    async def lost(self, link: LinkId, session: int, reason: str) -> None: ...


@attrs.frozen(kw_only=True)
class PeerStatistics:
    """One neighbour's connection."""

    link: LinkId
    connected: bool
    session: int
    connects: int
    frames_in: int
    frames_out: int
    bytes_in: int
    bytes_out: int
    refused: int
    """connections refused: wrong certificate, unknown node, oversized frame"""


class PeerLinks(Protocol):
    """At most one live session per link; the smaller node name dials, the other listens. Both
    ends prove the URI SAN ``kms:<node>``. A new connection from the neighbour ends the old one."""

    async def run(self, inbox: PeerInbox) -> Never:
        """Keeps a session to every neighbour, reconnecting with jittered back-off, until
        cancelled. Never raises for a peer's fault."""
        ...

    def send(self, link: LinkId, session: int, data: bytes) -> None:
        """Queues one frame; frames of a session arrive whole and in order, or the session is
        lost. Silently dropped when the session is gone. Never blocks."""
        ...

    def disconnect(self, link: LinkId, session: int, reason: str) -> None:
        """The session ends after what was queued; ``lost`` follows."""
        ...

    def statistics(self) -> tuple[PeerStatistics, ...]: ...
