"""What this end has to say to each neighbour about its streams.

Rules: a stream is said as one ``Mark`` per batch however often it changed in it, and always as it
is when the ``Mark`` is made; other messages about a stream never overtake its mark; at most
``MARKS_PER_BATCH_MAX`` leave in one batch. A mark names a KSID only, so it is said, and believed,
only of streams whose two applications both ends have compared; others are announced (I3), and so
are all after a restart: it is how the other end learns that this store may be an older one. What
operators have ordered about a stream is said with it until both ends have said the same.

Theory of operation: a session forgets nothing but may end at any time, so after each hello every
stream is said again, then ``Marked``. An acknowledgement is the same message: it leaves with the
batch that stored the chunks, or a later one (I5).
"""

from uuid import UUID

import attrs

from kms.domain import limits
from kms.domain.channel import Channel
from kms.domain.holds import same
from kms.domain.holdwords import keys_orders_of, orders_of
from kms.domain.keyruns import UNREAD
from kms.domain.names import KSID, WHOLE_LINK, LinkId
from kms.domain.outbox import Outbox
from kms.domain.records import HoldRecord, StreamRecord
from kms.domain.register import Register
from kms.domain.status import QoS
from kms.domain.stream import Stream
from kms.domain.wire import (
    Announce,
    AnnouncePair,
    Lapsed,
    Mark,
    Marked,
    Message,
    Verdict,
)


class Session:
    """One session with a neighbour."""

    def __init__(self, *, anew: bool) -> None:
        self.anew = anew
        """one of the two ends may be another process than in the last session: what it delivered
        unacknowledged nobody knows"""
        self.to_say: dict[KSID | None, Mark | None] = {}
        """KSIDs in turn, with a mark if it is not the stream's own; None: say ``Marked``"""
        self.heard_all = False
        self.meant: set[KSID] = set()
        """streams of this end that the neighbour has one of the KSID of; whether it is the same one
        its verdict will say"""
        self.missed: set[KSID] = set()
        """streams of this end that the neighbour has buried, or has lost; which, its answer to the
        announcement will say"""
        self.to_announce: dict[KSID, None] = {}
        self.holds_said: dict[KSID, HoldRecord] = {}
        """what this end has said of operators' orders, by KSID, and what it has heard: of streams
        that are here, and of the link"""
        self.holds_heard: dict[KSID, HoldRecord] = {}
        self.link_hold_due = False


class Speech:
    """Messages to all neighbours."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self.sessions: dict[LinkId, Session] = {}
        self._unsaid: dict[LinkId, Session] = {}
        """those of them that may have something to say: no batch looks at the others"""

    def linked(self, link: LinkId) -> None:
        """A new session: all streams of the link are to be said, then ``Marked``."""
        session = Session(anew=not self._register.channels[link].continuous)
        self.sessions[link] = self._unsaid[link] = session
        for ksid in self._register.on_link.get(link, ()):
            stream = self._register.streams[ksid]
            stream.said = stream.synced = False
            stream.lapsed = True
            session.to_say[ksid] = None
        session.to_say[None] = None
        self.say_link(link)
        bundles = self._register.bundles.by_name
        session.to_say.update(
            dict.fromkeys(filter(bundles.__contains__, self._register.holds.on(link)))
        )

    def unlinked(self, link: LinkId) -> None:
        """The session is over; what was not said is said in the next."""
        self.sessions.pop(link, None)
        self._unsaid.pop(link, None)
        for ksid in self._register.on_link.get(link, ()):
            stream = self._register.streams[ksid]
            stream.said = stream.synced = False

    def say(self, stream: Stream) -> None:
        """The neighbour is to know how this stream is now."""
        session = self._to_be_heard(stream.record.link)
        if session is not None:
            session.to_say.setdefault(stream.ksid, None)

    def say_closed(self, record: StreamRecord, *, withdrawn: bool = False) -> None:
        """The neighbour is to know that the stream is gone here."""
        session = self._to_be_heard(record.link)
        if session is not None:
            session.to_say[record.ksid] = Mark(
                ksid=record.ksid.bytes,
                next_index=record.acked_index if record.designates else record.next_index,
                joined=not withdrawn,
                closed=True,
                wanted=0,
                branch=record.branch,
            )
            session.to_announce.pop(record.ksid, None)

    def say_link(self, link: LinkId) -> None:
        """The neighbour is to know what operators have ordered about the link as a whole."""
        session = self._to_be_heard(link)
        if session is not None and self._register.holds.of(link) is not None:
            session.link_hold_due = True

    def say_keys(self, link: LinkId, name: KSID) -> None:
        """The neighbour is to know what operators have ordered about these keys for several."""
        session = self._to_be_heard(link)
        if session is not None:
            session.to_say.setdefault(name, None)

    def heard_hold(self, hold: HoldRecord) -> None:
        """The neighbour has said this in this session."""
        self.sessions[hold.link].holds_heard[hold.ksid] = hold

    def settled(self, hold: HoldRecord) -> bool:
        """Whether both ends have said this very hold in this session."""
        session = self.sessions.get(hold.link)
        if session is None:
            return False
        said, heard = session.holds_said.get(hold.ksid), session.holds_heard.get(hold.ksid)
        return same(said, hold) and same(heard, hold)

    def announce(self, stream: Stream) -> None:
        """The neighbour is told of the stream, if a session stands."""
        session = self.sessions.get(stream.record.link)
        lost = session is not None and stream.ksid in session.missed
        held = self._orders(stream.record.link, stream)
        self._tell(stream.record.link, stream.ksid, announcement(stream, lost=lost), *held)
        stream.said = True

    def say_now(self, stream: Stream) -> None:
        """The neighbour is told of the stream before what follows about it."""
        session = self.sessions.get(stream.record.link)
        channel = self._register.channel(stream)
        if session is not None and channel is not None and channel.up:
            session.to_say.pop(stream.ksid, None)
            self._say(channel, stream)

    def judge(self, link: LinkId, ksid: KSID, status: int, reason: str, joined: bool) -> None:
        """The neighbour's announcement is answered."""
        message = Verdict(ksid=ksid.bytes, status=status, reason=reason[:200], joined=joined)
        self._tell(link, ksid, message)

    def announce_later(self, stream: Stream) -> None:
        """The neighbour does not know the stream: it is announced in one of the next batches."""
        session = self._to_be_heard(stream.record.link)
        if session is not None:
            session.to_announce[stream.ksid] = None

    def flush(self, out: Outbox) -> None:
        """What is to be said is queued with the links that are up, up to the bound."""
        for link, session in list(self._unsaid.items()):
            channel = self._register.channels.get(link)
            if channel is None or not channel.up:
                continue
            if session.link_hold_due:
                session.link_hold_due = False
                for message in self._orders(link, None):
                    channel.send(message)
            for _ in range(limits.MARKS_PER_BATCH_MAX):
                if session.to_say:
                    self._say_first(channel, session)
                elif session.to_announce:
                    ksid = next(iter(session.to_announce))
                    del session.to_announce[ksid]
                    stream = self._register.streams.get(ksid)
                    if stream is not None and not stream.synced:
                        self.announce(stream)
                else:
                    del self._unsaid[link]
                    break

    def waits(self) -> bool:
        """Whether something is left for the next batch."""
        for link, session in self._unsaid.items():
            channel = self._register.channels.get(link)
            if channel is not None and channel.up and (session.to_say or session.to_announce):
                return True
        return False

    def _to_be_heard(self, link: LinkId) -> Session | None:
        """The session, if one stands, for something that is to be said in it."""
        session = self.sessions.get(link)
        if session is not None:
            self._unsaid[link] = session
        return session

    def _say_first(self, channel: Channel, session: Session) -> None:
        ksid = next(iter(session.to_say))
        mark = session.to_say.pop(ksid)
        if ksid is None:
            channel.send(Marked())
        elif mark is not None:
            channel.send(mark)
        elif ksid in self._register.streams:
            self._say(channel, self._register.streams[ksid])
        else:
            for message in self._keys_orders(channel.link, ksid):
                channel.send(message)

    def _tell(self, link: LinkId, ksid: KSID, *messages: Message) -> None:
        session, channel = self.sessions.get(link), self._register.channels.get(link)
        if session is None or channel is None or not channel.up:
            return
        if ksid in session.to_say:
            first = session.to_say.pop(ksid)
            stream = self._register.streams.get(ksid)
            if first is not None:
                channel.send(first)
            elif stream is not None and stream.confirmed and stream.continuous:
                self._say(channel, stream)
        for message in messages:
            channel.send(message)

    def _say(self, channel: Channel, stream: Stream) -> None:
        # An announcement cannot say closed.
        known = (stream.confirmed and stream.continuous) or stream.record.local_closed
        held = self._orders(channel.link, stream)
        # Before a mark, which may say closed: then the stream may be gone there.
        messages = [*held, mark_of(stream)] if known else [announcement(stream), *held]
        for message in messages:
            channel.send(message)
        stream.said = True
        if stream.passive and stream.lapsed:
            stream.lapsed = False
            # What is suspended may be released, and fetched, yet.
            unread = (run.first for run in stream.runs if run.state in UNREAD)
            below = next(unread, stream.runs.end)
            channel.send(Lapsed(ksid=stream.ksid.bytes, below=below))

    def _orders(self, link: LinkId, stream: Stream | None) -> list[Message]:
        """What is to be said of operators' orders about the stream, or the link as a whole."""
        hold = self._register.holds.of(link, stream.ksid if stream is not None else WHOLE_LINK)
        session = self.sessions.get(link)
        if hold is None or session is None or self.settled(hold):
            return []
        session.holds_said[hold.ksid] = hold
        return [orders_of(hold, stream)]

    def _keys_orders(self, link: LinkId, name: KSID) -> list[Message]:
        """The same about keys for several, if they are known."""
        bundle = self._register.bundles.by_name.get(name)
        hold = self._register.holds.of(link, name)
        if bundle is None or hold is None or self.settled(hold):
            return []
        self.sessions[link].holds_said[name] = hold
        return [keys_orders_of(hold, bundle.record)]


def mark_of(stream: Stream) -> Mark:
    """How far this end is with the stream."""
    record = stream.record
    # Closed without having joined would mean: withdrawn.
    joined = record.local_joined or record.local_closed
    stream.wanted_said = 0 if record.designates else stream.waited()
    return Mark(
        ksid=record.ksid.bytes,
        next_index=stream.deliverable,
        joined=joined,
        closed=record.local_closed,
        wanted=stream.wanted_said,
        branch=record.branch,
    )


def announcement(stream: Stream, *, lost: bool = False) -> Announce:
    """The stream, as the neighbour is told of it. ``lost``: it may have delivered all there is, and
    does not know it any longer, so the stream goes on behind that."""
    record, qos = stream.record, stream.record.qos
    kind = AnnouncePair if record.paired else Announce
    return kind(
        ksid=record.ksid.bytes,
        local=record.local,
        remote=record.remote,
        designates=record.designates,
        qos=list(attrs.astuple(qos)[:7]),
        mimetype=qos.metadata_mimetype,
        next_index=record.next_index if lost else stream.deliverable,
        joined=record.local_joined,
        branch=record.branch,
    )


def announced_qos(message: Announce) -> QoS:
    """The QoS of an announcement, as it came."""
    names = [field.name for field in attrs.fields(QoS)][:-1]
    fields = dict(zip(names, message.qos, strict=True))
    return QoS(metadata_mimetype=message.mimetype, **fields)


def ksid_of(data: bytes) -> KSID:
    """The KSID in a message."""
    return KSID(UUID(bytes=data))
