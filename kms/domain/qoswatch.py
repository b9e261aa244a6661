"""Whether each link still keeps what was promised on it: the ``qos`` alarm, and its availability.

Rules: an alarm is raised once per episode. It begins when, for ``QOS_SHORT_S``, the link made less
than its streams were promised (its stock counted as at the admission), or somebody waited for key
that was promised. It ends when neither was so for ``QOS_KEPT_S``, with ``QOS_KEPT_PERCENT`` of the
rate, or when nothing is promised any longer. The streams stay, the pacer goes on as before: up to
Min_bps first, the larger priority first among those.

Theory of operation: one look a second at each link, whatever the number of its streams. The rate is
an average over a minute, so it says nothing in the first one of the process; waiting does.
"""

from enum import Enum

import attrs

from kms.domain import limits
from kms.domain.channel import Channel
from kms.domain.meter import SPAN_MS
from kms.domain.names import LinkId
from kms.domain.outbox import Outbox
from kms.domain.qos import capacity_bps
from kms.domain.register import Register
from kms.domain.supply import Supply

ALARM = "qos"
_LOOK_EVERY_MS = 1000


class Promise(Enum):
    """How a link stands to what was promised on it."""

    KEPT = "kept"
    SHORT = "short"
    """not kept now, and no alarm yet"""
    BROKEN = "broken"
    """under alarm"""
    MENDING = "mending"
    """kept again, and still under alarm"""


class Look(Enum):
    """What a look at the link finds."""

    GOOD = "good"
    BAD = "bad"
    BAD_FOR_LONG = "bad for QOS_SHORT_S"
    GOOD_FOR_LONG = "good for QOS_KEPT_S"


_AFTER = {
    (Promise.KEPT, Look.GOOD): Promise.KEPT,
    (Promise.KEPT, Look.GOOD_FOR_LONG): Promise.KEPT,
    (Promise.KEPT, Look.BAD): Promise.SHORT,
    (Promise.KEPT, Look.BAD_FOR_LONG): Promise.BROKEN,
    (Promise.SHORT, Look.GOOD): Promise.KEPT,
    (Promise.SHORT, Look.GOOD_FOR_LONG): Promise.KEPT,
    (Promise.SHORT, Look.BAD): Promise.SHORT,
    (Promise.SHORT, Look.BAD_FOR_LONG): Promise.BROKEN,
    (Promise.BROKEN, Look.GOOD): Promise.MENDING,
    (Promise.BROKEN, Look.GOOD_FOR_LONG): Promise.KEPT,
    (Promise.BROKEN, Look.BAD): Promise.BROKEN,
    (Promise.BROKEN, Look.BAD_FOR_LONG): Promise.BROKEN,
    (Promise.MENDING, Look.GOOD): Promise.MENDING,
    (Promise.MENDING, Look.GOOD_FOR_LONG): Promise.KEPT,
    (Promise.MENDING, Look.BAD): Promise.BROKEN,
    (Promise.MENDING, Look.BAD_FOR_LONG): Promise.BROKEN,
}
_ALARMED = (Promise.BROKEN, Promise.MENDING)


@attrs.define
class _Watched:
    """One link."""

    promise: Promise = Promise.KEPT
    since_ms: int = 0
    """when looks began to find what they find now"""
    good: bool = True


class QoSWatch:
    """Looks after the promises of all links."""

    def __init__(self, register: Register, supply: Supply) -> None:
        self._register, self._supply = register, supply
        self._watched: dict[LinkId, _Watched] = {}
        self._began_ms: int | None = None
        self._looked_ms = 0

    def look(self, out: Outbox) -> None:
        """Alarms are raised and ended; at most once a second."""
        now_ms = out.now.mono_ms
        if self._began_ms is None:
            self._began_ms = now_ms
        elif now_ms - self._looked_ms < _LOOK_EVERY_MS:
            return
        self._looked_ms = now_ms
        for link, channel in self._register.channels.items():
            stopped = self._register.holds.stopped(link)
            serves = channel.up and not channel.alarmed and not stopped
            self._register.service(link).outages.look(now_ms, serves=serves)
            if self._register.promised_bps[link]:
                self._look_at(link, channel, out)
            elif link in self._watched:
                self._end(link, self._watched.pop(link), "nothing is promised any longer", out)

    def _look_at(self, link: LinkId, channel: Channel, out: Outbox) -> None:
        now_ms = out.now.mono_ms
        watched = self._watched.setdefault(link, _Watched(since_ms=now_ms))
        before = watched.promise
        why = self._trouble(link, channel, before, now_ms)
        if watched.good == bool(why):
            watched.good, watched.since_ms = not why, now_ms
        long_ms = now_ms - watched.since_ms
        if why:
            seen = Look.BAD_FOR_LONG if long_ms >= limits.QOS_SHORT_S * 1000 else Look.BAD
        else:
            seen = Look.GOOD_FOR_LONG if long_ms >= limits.QOS_KEPT_S * 1000 else Look.GOOD
        watched.promise = _AFTER[before, seen]
        if watched.promise in _ALARMED and before not in _ALARMED:
            out.alarm(ALARM, link, why)
        elif before in _ALARMED and watched.promise not in _ALARMED:
            self._ended(link, "what was promised is kept again", out)

    def _trouble(self, link: LinkId, channel: Channel, promise: Promise, now_ms: int) -> str:
        """Why what was promised is not kept now; empty when it is."""
        promised = self._register.promised_bps[link]
        if self._register.holds.stopped(link):
            # An operator's word, and no broken promise: ``kms status`` says so.
            return ""
        if not channel.up or channel.alarmed:
            how = "under alarm" if channel.up else "down"
            return f"{promised} bit/s are promised, the link is {how}"
        owed_ms = self._supply.owed_ms(link, now_ms)
        if owed_ms >= limits.QOS_LATE_MS:
            return f"an application has waited {owed_ms} ms for key that it was promised"
        assert self._began_ms is not None, "looked"
        if now_ms - self._began_ms < SPAN_MS:
            return ""
        percent = limits.QOS_KEPT_PERCENT if promise in _ALARMED else 100
        has = capacity_bps(channel, percent, channel.level())
        if has >= promised:
            return ""
        return f"{promised} bit/s are promised, the link can keep {has}"

    def _end(self, link: LinkId, watched: _Watched, why: str, out: Outbox) -> None:
        if watched.promise in _ALARMED:
            self._ended(link, why, out)

    def _ended(self, link: LinkId, why: str, out: Outbox) -> None:
        out.audit("alarm-ended", actor="node", subject=link, kind=ALARM, reason=why)
        out.note("alarm-ended", link=link, kind=ALARM)
