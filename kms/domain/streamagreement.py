"""What a neighbour says about streams, and what that changes here.

Rules: a message is checked as a whole before anything changes; what a right neighbour never sends
is a ``PeerFault`` (I9); what can cross with something of ours on the way (a designation for a
stream just closed or withdrawn) is let pass and its bits wiped. One end of a stream designates;
when both ends opened it at once, the leader's record wins at both.

What two ends that compare come to is in ``comparison``.
"""

import attrs

from kms.domain import limits
from kms.domain.close import Ending
from kms.domain.comparison import Comparison
from kms.domain.errors import BadName, PeerFault
from kms.domain.getkey import Reading
from kms.domain.keyruns import KeyRuns
from kms.domain.names import KSID, LinkId, sae_id
from kms.domain.newcomer import judge_new
from kms.domain.open import Opening
from kms.domain.outbox import Outbox
from kms.domain.qos import is_pairs, is_settled
from kms.domain.records import StreamRecord
from kms.domain.register import Register
from kms.domain.revocation import Revocation
from kms.domain.secret import Secret
from kms.domain.speech import Session, Speech, announced_qos, ksid_of
from kms.domain.status import QoS, Status
from kms.domain.stream import Stream
from kms.domain.supply import Supply
from kms.domain.wire import (
    Announce,
    AnnouncePair,
    Designate,
    Lapsed,
    Mark,
    StreamMessage,
    Verdict,
)
from kms.domain.wireheld import Held

_REFUSALS = (Status.NO_QKD_CONNECTION, Status.KSID_IN_USE, Status.QOS_NOT_MET)


class StreamAgreement:
    """One stream at two ends."""

    def __init__(
        self,
        register: Register,
        speech: Speech,
        supply: Supply,
        ending: Ending,
        opening: Opening,
        reading: Reading,
        revocation: Revocation,
    ) -> None:
        self._register = register
        self._comparison = Comparison(register, ending)
        self._speech = speech
        self._supply = supply
        self._ending = ending
        self._opening = opening
        self._reading = reading
        self._revocation = revocation

    def on_message(
        self,
        link: LinkId,
        message: StreamMessage,
        drawn: Secret | None,
        out: Outbox,
    ) -> None:
        """The message has had its effect. Raises ``PeerFault``; nothing changed then."""
        kept = False
        try:
            session = self._speech.sessions.get(link)
            if session is None:
                raise _fault("a message about streams before the hello")
            if isinstance(message, Designate):
                kept = self._on_designate(link, message, drawn, out)
            elif drawn is not None:
                raise _fault("key bytes behind a message that designates none")
            elif isinstance(message, Announce):
                self._on_announce(link, message, out)
            elif isinstance(message, Verdict):
                self._on_verdict(link, message, out)
            elif isinstance(message, Mark):
                self._on_mark(link, message, out)
            elif isinstance(message, Lapsed):
                self._on_lapsed(link, message, out)
            elif isinstance(message, Held):
                self._revocation.heard(link, message, out)
            else:
                self._on_marked(link, session, out)
        finally:
            if drawn is not None and not kept:
                drawn.wipe()

    # ---- Announce, Verdict ------------------------------------------------------------------

    def _on_announce(self, link: LinkId, message: Announce, out: Outbox) -> None:
        ksid = _ksid(message.ksid)
        qos = announced_qos(message)
        try:
            there, here = sae_id(message.local), sae_id(message.remote)
        except BadName as error:
            raise _fault(error.reason) from None
        stream = self._register.streams.get(ksid)
        if stream is None:
            status, reason = judge_new(self._register, link, message)
        else:
            record = stream.record
            mine = (record.link, record.local, record.remote) == (link, here, there)
            paired = isinstance(message, AnnouncePair)
            if record.paired or paired:
                # Which end the master's is, and the size of its keys, are settled for good.
                mine = mine and record.paired == paired and record.designates != message.designates
            closed = record.local_closed or record.remote_closed
            fits = qos.key_chunk_size == record.qos.key_chunk_size
            fits = fits or not (stream.runs.end or paired)
            status, reason = Status.SUCCESS, ""
            settled = is_pairs(qos) if paired else is_settled(qos)
            if not mine or closed or not fits or not settled:
                status, reason = Status.KSID_IN_USE, "the Key_stream_ID is in use or closed"
        if status is not Status.SUCCESS:
            buried = self._register.tombstones.get(ksid)
            if buried is not None and buried.record.link == link:
                # How far it went here the verdict cannot say.
                self._speech.say_closed(buried.record)
            self._speech.judge(link, ksid, status, reason, joined=False)
            return
        if stream is None:
            stream = self._take_on(link, ksid, message, qos, out)
        else:
            self._merge(stream, message, qos, out)
        if not stream.synced:
            stream.heard_index = message.next_index
        stream.synced = stream.confirmed = stream.said = True
        self._speech.judge(link, ksid, Status.SUCCESS, "", joined=stream.record.local_joined)
        self._speech.say_now(stream)
        self._register.touch(stream)
        self._opening.agreed(stream, out)
        self._reading.serve(stream, out)

    def _take_on(
        self, link: LinkId, ksid: KSID, message: Announce, qos: QoS, out: Outbox
    ) -> Stream:
        """A stream that the neighbour opened, or that an old store here has lost."""
        now = out.now
        paired = isinstance(message, AnnouncePair)
        record = StreamRecord(
            ksid=ksid,
            link=link,
            local=sae_id(message.remote),
            remote=sae_id(message.local),
            designates=not message.designates,
            qos=qos,
            next_index=0,
            falls=self._register.forgotten,
            local_joined=paired,
            remote_joined=message.joined,
            local_closed=False,
            remote_closed=False,
            created_ms=now.wall_ms,
            touched_ms=now.wall_ms,
            paired=paired,
            announced=True,
        )
        stream = Stream(record, KeyRuns(ksid), now)
        # A store put back to before the stream was opened has forgotten what it delivered of it:
        # announced, not marked, so that the end which designates makes no index again (I2).
        stream.continuous = not message.next_index
        self._register.add(stream)
        self._ending.restored(stream, out)
        self._comparison.catch_up(stream, message.next_index, message.branch, out)
        return stream

    def _merge(self, stream: Stream, message: Announce, qos: QoS, out: Outbox) -> None:
        """Both ends have the stream: one record of it stands."""
        record = stream.record
        leads = stream.leads(self._register.node)
        designates = record.designates
        if record.designates == message.designates:
            designates = leads
            if designates and record.designates:
                # Crossed openings: the other end has to hear of the record that stands.
                self._speech.announce(stream)
        if record.designates and not designates:
            self._comparison.take_back(stream, record.acked_index, out)
        elif designates and not record.designates:
            stream.record = attrs.evolve(record, acked_index=record.next_index)
        stands = stream.record.qos if designates else qos
        self._register.set_qos(
            stream,
            attrs.evolve(
                stream.record,
                designates=designates,
                qos=stands,
                remote_joined=message.joined or (stream.synced and record.remote_joined),
            ),
        )
        stream.repace(out.now)
        if not stream.synced and stream.record.designates:
            self._comparison.give_up(stream, message.next_index, message.branch, out)
        if not stream.synced or not stream.record.designates:
            self._comparison.catch_up(stream, message.next_index, message.branch, out)

    def _on_verdict(self, link: LinkId, message: Verdict, out: Outbox) -> None:
        stream = self._stream_of(link, message.ksid)
        if message.status != Status.SUCCESS and message.status not in _REFUSALS:
            raise _fault(f"a verdict with status {message.status}")
        if stream is None:
            return
        if message.status == Status.SUCCESS:
            joined = message.joined or (stream.synced and stream.record.remote_joined)
            if stream.record.designates and stream.ksid in self._speech.sessions[link].missed:
                # It has lost the stream, and with it what it delivered unacknowledged.
                self._comparison.give_up(stream, 0, 0, out)
            stream.record = attrs.evolve(stream.record, remote_joined=joined)
            # How far the neighbour is with it, its mark behind the verdict says.
            stream.confirmed = stream.continuous = True
            self._register.touch(stream)
            self._opening.agreed(stream, out)
        elif stream.confirmed:
            self._ending.remote_closed(stream, f"the peer's node: {message.reason}", out)
            self._reading.serve(stream, out)
        else:
            self._opening.refused(stream, Status(message.status), message.reason, out)

    # ---- Mark, Marked -----------------------------------------------------------------------

    def _on_mark(self, link: LinkId, message: Mark, out: Outbox) -> None:
        stream = self._stream_of(link, message.ksid)
        if stream is None:
            buried = self._register.tombstones.get(ksid_of(message.ksid))
            if buried is not None and buried.record.link == link and not message.closed:
                self._speech.say_closed(buried.record)
            return
        if not (stream.confirmed and stream.continuous):
            # Perhaps the neighbour means another stream of that KSID: the verdict will say.
            if not message.closed:
                self._speech.sessions[link].meant.add(stream.ksid)
            return
        if stream.record.remote_closed and not message.closed:
            # It closed this stream once, and its store has forgotten it: it is told again.
            self._speech.say_closed(stream.record)
            return
        self._check_mark(stream, message)
        if message.closed and not message.joined:
            self._withdrawn(stream, out)
            return
        stream.heard_index = message.next_index
        if not stream.synced:
            if self._speech.sessions[link].anew and stream.record.designates:
                self._comparison.give_up(stream, message.next_index, message.branch, out)
                # Its next index is behind what is lost: heard before anything is designated.
                stream.said = False
            self._comparison.catch_up(stream, message.next_index, message.branch, out)
            stream.synced = True
        elif not stream.record.designates:
            self._comparison.lose_to(stream, message.next_index, out)
        elif stream.record.acked_index < message.next_index <= stream.record.next_index:
            stream.record = attrs.evolve(stream.record, acked_index=message.next_index)
        if not stream.said:
            self._speech.say_now(stream)
        if stream.record.remote_joined != message.joined:
            stream.record = attrs.evolve(stream.record, remote_joined=message.joined)
        self._register.touch(stream)
        if stream.record.designates and message.wanted:
            beyond = message.next_index + message.wanted - stream.record.next_index
            stream.pace.wanted = max(0, beyond)
            stream.pace.missed()
        if message.closed:
            self._ending.remote_closed(stream, "the peer application closed the stream", out)
        if stream.ksid in self._register.streams:
            self._opening.agreed(stream, out)
            self._reading.serve(stream, out)

    def _check_mark(self, stream: Stream, message: Mark) -> None:
        record = stream.record
        if not stream.synced or message.closed:
            # Where a closed side stands does not matter any longer; an old store says anything.
            return
        # Not the acknowledged index: a neighbour with an old store says less until it hears ours.
        high = record.next_index if record.designates else limits.INDEX_MAX + 1
        if not stream.heard_index <= message.next_index <= high:
            raise _fault(f"a mark at {message.next_index} of stream {stream.ksid}")
        news = record.designates and record.acked_index < message.next_index
        if news and message.branch != record.branch:
            raise _fault(f"a mark of chunks of stream {stream.ksid} that were not made here")
        if record.remote_joined and not message.joined and not message.closed:
            raise _fault(f"the application of stream {stream.ksid} left without closing it")

    def _withdrawn(self, stream: Stream, out: Outbox) -> None:
        """The neighbour rolled its opening back: it has the stream no longer."""
        if stream.record.local_closed:
            self._ending.remote_closed(stream, "the opening was withdrawn", out)
        elif not stream.relied_on:
            self._ending.roll_back(stream, out)
        elif stream.deliverable:
            # It was established at both ends: a right neighbour closes then.
            self._ending.remote_closed(stream, "the peer's node has lost the stream", out)
            self._reading.serve(stream, out)
        else:
            self._comparison.take_back(stream, 0, out)
            stream.record = attrs.evolve(stream.record, remote_joined=False)
            stream.synced = stream.confirmed = False
            # What one end has open the other knows (I7): this opening still stands.
            self._speech.announce_later(stream)
            self._register.touch(stream)

    def _on_lapsed(self, link: LinkId, message: Lapsed, out: Outbox) -> None:
        stream = self._stream_of(link, message.ksid)
        if stream is not None:
            if not stream.record.paired or stream.passive:
                raise _fault(f"keys lapsed of stream {stream.ksid}, which has none of that end's")
            self._comparison.lapsed(stream, message.below, out)

    def _on_marked(self, link: LinkId, session: Session, out: Outbox) -> None:
        if session.heard_all:
            raise _fault("Marked twice in one session")
        session.heard_all = True
        for ksid in list(self._register.on_link.get(link, ())):
            stream = self._register.streams[ksid]
            if stream.synced:
                continue
            if stream.record.local_closed:
                self._ending.remote_closed(stream, "the peer's node has it no longer", out)
            elif stream.record.remote_closed and stream.record.local_joined:
                continue
            elif stream.relied_on:
                if stream.confirmed and stream.continuous:
                    session.missed.add(ksid)
                self._speech.announce_later(stream)
            elif ksid not in session.meant:
                # Nobody joined here, or a pair has no key yet: nothing was delivered here.
                self._ending.roll_back(stream, out)

    # ---- Designate --------------------------------------------------------------------------

    def _on_designate(
        self, link: LinkId, message: Designate, drawn: Secret | None, out: Outbox
    ) -> bool:
        stream = self._stream_of(link, message.ksid)
        last = message.first + message.count
        size = message.count * message.chunk_bytes
        if not 1 <= message.count <= limits.DESIGNATION_CHUNKS_MAX:
            raise _fault(f"a designation of {message.count} chunks")
        if not 1 <= message.chunk_bytes <= limits.CHUNK_BYTES_MAX or last > limits.INDEX_MAX + 1:
            raise _fault("a designation beyond the bounds")
        if drawn is None or len(drawn) != size:
            raise _fault(f"a designation of {size} bytes without as many")
        if stream is None or not stream.synced:
            return False
        record = stream.record
        if record.local_closed or record.remote_closed:
            return False
        if record.designates or not record.local_joined:
            raise _fault(f"a designation for stream {stream.ksid} by the wrong end")
        if message.first != record.next_index or message.chunk_bytes != stream.chunk_bytes:
            raise _fault(f"a designation at {message.first} of stream {stream.ksid}")
        stream.record = attrs.evolve(record, next_index=last, branch=message.branch)
        if record.paired:
            stream.touch(out.now)
        self._supply.store(stream, message.count, drawn, out)
        self._speech.say(stream)
        self._reading.serve(stream, out)
        return True

    # ---- inside ----------------------------------------------------------------------------

    def _stream_of(self, link: LinkId, data: bytes) -> Stream | None:
        """The stream that the neighbour means. Another link's of that name is none of its
        business: an opening that is about to be refused for it may be withdrawn just now."""
        stream = self._register.streams.get(_ksid(data))
        return stream if stream is not None and stream.record.link == link else None


def _ksid(data: bytes) -> KSID:
    ksid = ksid_of(data)
    if ksid.version != 4:
        raise _fault("a Key_stream_ID that is no UUID version 4")
    return ksid


def _fault(what: str) -> PeerFault:
    return PeerFault(
        what, hint="the neighbour breaks the protocol of streams: compare the two versions"
    )
