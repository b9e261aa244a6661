"""Two ends of a stream compare how far each is: after a hello, nobody makes an index twice (I2).

Theory of operation. Marks carry what *both* ends hold, as far as their sender knows: the receiving
end says how many chunks it has stored, the designating end how many were acknowledged to it. After
a reconnection the two compare them:

    agreed = max(stored at the receiving end, acknowledged at the designating end)

Above ``agreed`` the designating end takes back what it made: it was delivered nowhere, for it
delivers only what was acknowledged, and the other end never had it. An end that has less than
``agreed`` has an old store: for it the chunks between are lost. The receiving end delivers as soon
as it has stored, and a restored store forgets both, so nothing is taken back unless both ends are
the very processes that they were (``Channel.continuous``): else what the receiving end does not
hold is lost at both ends, and the next index is a new one. So no index is made
twice that an application may have had (I2), whichever store is restored from a backup.

Two ends can hold as many chunks and not the same ones: a store put back, or a second machine with
its disk, has made the same indices anew. So each designation belongs to a *branch*, whose number
no other process has, and which ends whenever chunks are taken back; under one branch no index is
made twice. All that is not acknowledged is of one branch, since every session begins with this
comparison. What the other end holds is believed to be that only if its newest chunk is of the same
branch; else it was made by another, and the own chunks are taken back.
"""

import attrs

from kms.domain.close import Ending
from kms.domain.keyruns import UNREAD
from kms.domain.lifecycle import KeyEvent
from kms.domain.outbox import Outbox
from kms.domain.register import Register
from kms.domain.stream import Stream


class Comparison:
    """What one end does with the other end's next index."""

    def __init__(self, register: Register, ending: Ending) -> None:
        self._register = register
        self._ending = ending

    def catch_up(self, stream: Stream, held: int, branch: int, out: Outbox) -> None:
        """Both ends are at the same next index (theory of operation, above)."""
        record = stream.record
        if not record.designates:
            self.lose_to(stream, held, out)
            return
        self._disown(stream, held, out)
        if held > record.next_index:
            # The other end has what was made here: this store is an old copy.
            self._ending.outdated(stream, out)
        agreed = max(held, record.acked_index)
        self.take_back(stream, agreed if branch == record.branch else record.acked_index, out)
        self.lose_to(stream, agreed, out)
        stream.record = attrs.evolve(stream.record, acked_index=agreed)
        self._register.touch(stream)

    def lapsed(self, stream: Stream, below: int, out: Outbox) -> None:
        """Of a pair: the slave's end holds none of its keys below this index any more."""
        waiting = stream.runs.spans(UNREAD)
        gone = [
            attrs.evolve(span, count=min(span.count, below - span.first))
            for span in waiting
            if span.first < below
        ]
        self._register.destroy(
            stream, gone, KeyEvent.DESTROY, reason="lapsed at the slave's end", out=out
        )

    def _disown(self, stream: Stream, held: int, out: Outbox) -> None:
        """Of a pair, if the other end has forgotten what it had acknowledged: no master is given a
        key that its slave cannot fetch."""
        if stream.record.paired and held < stream.record.acked_index:
            self._register.destroy(
                stream,
                stream.runs.spans(UNREAD, held),
                KeyEvent.DESTROY,
                reason="lost: the other end's store is an older one",
                out=out,
            )

    def give_up(self, stream: Stream, held: int, branch: int, out: Outbox) -> None:
        """An end is another process than it was: what the receiving one does not hold is lost, and
        never made again."""
        record = stream.record
        self._disown(stream, held, out)
        kept = max(held if branch == record.branch else 0, record.acked_index)
        if kept < record.next_index:
            self._register.destroy(
                stream,
                stream.runs.spans(UNREAD, kept),
                KeyEvent.DESTROY,
                reason="lost when an end restarted",
                out=out,
            )
            stream.record = attrs.evolve(record, acked_index=record.next_index)
            self._register.touch(stream)

    def take_back(self, stream: Stream, first: int, out: Outbox) -> None:
        """Chunks from ``first`` on, which only this end holds, were never made."""
        if first >= stream.record.next_index:
            return
        self._register.destroy(
            stream,
            stream.runs.spans(UNREAD, first),
            KeyEvent.DESTROY,
            reason="never reached the other end",
            out=out,
        )
        stream.runs.fall_back(first)
        stream.record = attrs.evolve(stream.record, next_index=first, falls=stream.record.falls + 1)
        self._register.touch(stream)

    def lose_to(self, stream: Stream, end: int, out: Outbox) -> None:
        """Chunks up to ``end``, which only the other end holds, are lost here."""
        lost = end - stream.record.next_index
        if lost <= 0:
            return
        reason = "lost: this store is older than the peer's"
        stream.runs.lose(lost, now=out.now, reason=reason)
        out.audit(
            "keys-lost",
            actor="node",
            subject=str(stream.ksid),
            first=stream.record.next_index,
            count=lost,
            reason=reason,
        )
        stream.record = attrs.evolve(stream.record, next_index=end)
        self._register.touch(stream)
