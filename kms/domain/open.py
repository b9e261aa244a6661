"""OPEN_CONNECT: a stream between two applications, at both their nodes.

Rules: the caller is one of the two applications named, lives at this node, and policy lets it share
with the other (I3), or it is refused before anything is looked up. A KSID belongs to its pair of
applications for good. On SUCCESS and on PEER_NOT_CONNECTED_YET the stream is durable at both nodes
(I5); on every other answer this call has left nothing behind.

Theory of operation: without a KSID the caller waits for the neighbour's verdict only, and is told 1
or 0. With a KSID that nobody knows yet (predefined) it waits for the other application, and the
opening is rolled back at the Timeout. With one that the other application has opened it joins: 0.
"""

import attrs

from kms.domain import limits
from kms.domain.channel import Channel
from kms.domain.close import Ending
from kms.domain.effects import Answer, Refuse
from kms.domain.errors import BadName
from kms.domain.events import Asked
from kms.domain.keyruns import KeyRuns
from kms.domain.names import KSID, LinkId, SAEId, link_id
from kms.domain.outbox import Outbox
from kms.domain.qos import judge, spare_bps
from kms.domain.records import StreamRecord
from kms.domain.register import Register
from kms.domain.requests import OpenConnect, OpenReply
from kms.domain.speech import Speech
from kms.domain.status import QoS, Status
from kms.domain.stream import Stream, Waiting
from kms.domain.supply import Supply


class Opening:
    """Streams that come into being."""

    def __init__(self, register: Register, speech: Speech, supply: Supply, ending: Ending) -> None:
        self._register = register
        self._speech = speech
        self._supply = supply
        self._ending = ending

    def asked(self, event: Asked, request: OpenConnect, out: Outbox) -> None:
        """OPEN_CONNECT is answered, now or within the agreed Timeout."""
        caller, ends = event.caller, (request.source, request.destination)
        if caller not in ends:
            self._forbid(event, "the caller is neither source nor destination", out)
            return
        peer = ends[1] if caller == ends[0] else ends[0]
        if not self._register.policy.may_share(caller, peer):
            self._forbid(event, "policy does not let these applications share a stream", out)
            return
        if self._register.directory.get(caller) != self._register.node:
            self._forbid(event, "the caller does not live at this node", out)
            return
        ksid = request.ksid or self._register.named(event)
        assert ksid is not None, "a request that wants a name brings one"
        stream = self._register.streams.get(ksid)
        if ksid in self._register.tombstones:
            message = "the stream of this Key_stream_ID is closed"
            self._reply(event, Status.KSID_IN_USE, message, request.qos, out)
        elif stream is not None:
            self._join(event, request, stream, peer, out)
        else:
            self._create(event, request, ksid, peer, out)

    def agreed(self, stream: Stream, out: Outbox) -> None:
        """The neighbour holds the stream: openings that waited for no more are answered."""
        joined = stream.record.remote_joined
        for waiting in list(stream.openings.values()):
            assert isinstance(waiting.request, OpenConnect), "requests for keys wait elsewhere"
            if joined or waiting.request.ksid is None:
                self._register.answer(waiting, self._welcome(stream), out)

    def refused(self, stream: Stream, status: Status, reason: str, out: Outbox) -> None:
        """The neighbour will not have the stream: as if it had never been asked for."""
        qos = stream.record.qos
        if status is Status.QOS_NOT_MET:
            qos = attrs.evolve(qos, min_bps=0)
        message = f"the peer's node refuses: {reason}"
        for waiting in list(stream.openings.values()):
            reply = OpenReply(status=status, message=message, qos=qos)
            self._register.answer(waiting, reply, out)
        self._ending.roll_back(stream, out, message)

    def timed_out(self, waiting: Waiting, out: Outbox) -> None:
        """The Timeout is over: with the last one that waits, the opening is rolled back."""
        stream = self._register.streams[waiting.ksid]
        assert isinstance(waiting.request, OpenConnect), "requests for keys wait elsewhere"
        message = "the peer application did not open the stream within the agreed Timeout"
        if waiting.request.ksid is None:
            message = "the peer's node did not answer within the agreed Timeout"
        reply = OpenReply(status=Status.TIMEOUT, message=message, qos=stream.record.qos)
        self._register.answer(waiting, reply, out)
        if not stream.openings:
            self._ending.roll_back(stream, out)

    def _join(
        self, event: Asked, request: OpenConnect, stream: Stream, peer: SAEId, out: Outbox
    ) -> None:
        record = stream.record
        refused = ""
        if (record.local, record.remote) != (event.caller, peer) or record.paired:
            refused = "the Key_stream_ID is in use by other applications"
        elif record.local_closed or (record.remote_closed and not record.local_joined):
            refused = "the stream of this Key_stream_ID is closed"
        elif stream.openings:
            # A second try of an opening that still waits: it waits as well, with its own Timeout.
            self._wait(event, request, stream, out)
            return
        if refused:
            self._reply(event, Status.KSID_IN_USE, refused, request.qos, out)
            return
        now = out.now
        if not record.local_joined:
            stream.record = attrs.evolve(record, local_joined=True)
            self._speech.say(stream)
            out.audit(
                "stream-joined", actor=event.caller, subject=str(stream.ksid), peer=record.remote
            )
        stream.touch(now)
        self._register.touch(stream)
        self._supply.consider(stream, now.mono_ms)
        out.add(Answer(request_id=event.request_id, reply=self._welcome(stream)))

    def _create(
        self, event: Asked, request: OpenConnect, ksid: KSID, peer: SAEId, out: Outbox
    ) -> None:
        register = self._register
        rule = register.policy.rule_for(event.caller, peer, register.node)
        if rule is None:
            self._forbid(event, "policy lets only the other application open this stream", out)
            return
        try:
            link = self._link_to(peer)
        except BadName:
            message = "both applications live at this node: it shares keys between nodes only"
            self._reply(event, Status.NO_QKD_CONNECTION, message, request.qos, out)
            return
        channel = register.channels.get(link) if link else None
        trouble = ""
        if link is None:
            trouble = "it is not known where the peer application lives"
        trouble = trouble or self.trouble(event.caller, channel)
        if trouble or channel is None or link is None:
            self._reply(event, Status.NO_QKD_CONNECTION, trouble, request.qos, out)
            return
        permitted = register.caps.spare_bps(rule, event.caller, peer)
        spare = spare_bps(channel, register.promised_bps[link], channel.level())
        verdict = judge(request.qos, spare, permitted)
        if verdict.refused:
            self._reply(event, Status.QOS_NOT_MET, verdict.refused, verdict.qos, out)
            return
        stream = self.begin(ksid, link, (event.caller, peer), verdict.qos, out)
        self._wait(event, request, stream, out)

    def begin(
        self,
        ksid: KSID,
        link: LinkId,
        ends: tuple[SAEId, SAEId],
        qos: QoS,
        out: Outbox,
        *,
        paired: bool = False,
    ) -> Stream:
        """A stream between ``ends``, the application here first, that this end designates: durable
        here with the batch, announced there."""
        record = StreamRecord(
            ksid=ksid,
            link=link,
            local=ends[0],
            remote=ends[1],
            designates=True,
            qos=qos,
            next_index=0,
            falls=self._register.forgotten,
            local_joined=True,
            remote_joined=False,
            local_closed=False,
            remote_closed=False,
            created_ms=out.now.wall_ms,
            touched_ms=out.now.wall_ms,
            paired=paired,
        )
        stream = Stream(record, KeyRuns(ksid), out.now)
        self._register.add(stream)
        self._ending.restored(stream, out)
        self._speech.announce(stream)
        out.audit("stream-opened", actor=ends[0], subject=str(ksid), peer=ends[1], link=link)
        return stream

    def trouble(self, application: SAEId, channel: Channel | None) -> str:
        """What keeps the application from a new stream over this link now; empty for nothing."""
        if channel is None or not channel.up:
            return "no link to the peer application's node is up"
        if channel.alarmed:
            return f"the link to the peer application's node is stopped: {channel.alarmed}"
        stopped = self._register.holds.stopped(channel.link)
        return stopped or self.full(application) or self._register.crowd(application)

    def full(self, application: SAEId) -> str:
        """Which limit keeps the application from one more stream; empty for none."""
        if len(self._register.streams) >= limits.STREAMS_MAX:
            return f"this node already has {limits.STREAMS_MAX} streams"
        if self._register.of_application[application] >= limits.STREAMS_PER_APPLICATION_MAX:
            return f"the application already has {limits.STREAMS_PER_APPLICATION_MAX} streams"
        return ""

    def _wait(self, event: Asked, request: OpenConnect, stream: Stream, out: Outbox) -> None:
        crowd = self._register.crowd(event.caller, stream)
        if crowd:
            self._reply(event, Status.NO_QKD_CONNECTION, crowd, request.qos, out)
            return
        waiting = Waiting(
            request_id=event.request_id,
            caller=event.caller,
            ksid=stream.ksid,
            request=request,
            deadline_ms=out.now.mono_ms + stream.record.qos.timeout,
        )
        self._register.wait(stream, waiting)

    def _link_to(self, peer: SAEId) -> LinkId | None:
        """Raises ``BadName`` when the peer lives here."""
        there = self._register.directory.get(peer)
        return link_id(self._register.node, there) if there is not None else None

    def _welcome(self, stream: Stream) -> OpenReply:
        joined = stream.record.remote_joined
        return OpenReply(
            status=Status.SUCCESS if joined else Status.PEER_NOT_CONNECTED_YET,
            message="connected" if joined else "the peer application has not opened it yet",
            qos=stream.record.qos,
            ksid=stream.ksid,
        )

    def _forbid(self, event: Asked, message: str, out: Outbox) -> None:
        out.audit("refused", actor=event.caller, subject="OPEN_CONNECT", reason=message)
        out.add(Refuse(request_id=event.request_id, message=message))

    def _reply(self, event: Asked, status: Status, message: str, qos: QoS, out: Outbox) -> None:
        reply = OpenReply(status=status, message=message, qos=qos)
        out.add(Answer(request_id=event.request_id, reply=reply))
