"""I10 One client can only hurt itself.

Every fourth pair of applications is rude: it asks for streams of others and for none, and hangs up.
Whatever it does, each request of anybody has one answer, in time (the node's own time: a frozen
process answers nobody), and nobody ends or reads a stream that is not its own.
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import attrs

from kms.domain import limits
from kms.domain.effects import Answer, DeliverKey, Effect, Refuse
from kms.domain.events import Event
from kms.domain.keyrequests import EncKeys
from kms.domain.names import KSID, SAEId
from kms.domain.requests import Close, CloseReply, GetKey, OpenConnect, OpenReply, Request
from kms.domain.status import Status
from kms.simulation.checker import Checker
from kms.simulation.checkers.given import DELIVERIES
from kms.simulation.checkers.memory import Awake

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Outcome, Site

_OPENED = (Status.SUCCESS, Status.PEER_NOT_CONNECTED_YET)
# Two ticks, a commit on the way, reading the key.
_SLACK_US = 2_000_000
_ANSWERED_MAX = 4096


@attrs.frozen
class _Asked:
    caller: SAEId
    request: Request
    due_us: int
    """by the process's own time"""


class Unhurt(Checker):
    """All requests under way, and whose streams are whose."""

    invariant = "I10"
    outputs = (Answer, Refuse, *DELIVERIES)

    def __init__(self, simulation: "Simulation") -> None:
        self._awake = Awake.of(simulation)
        super().__init__(simulation, self._awake)
        self._open: dict[str, dict[int, _Asked]] = {}
        self._answered: deque[int] = deque(maxlen=_ANSWERED_MAX)
        self._replied: set[int] = set()
        self._timeouts: dict[KSID, int] = {}
        self._pairs: dict[KSID, set[SAEId]] = {}
        self.foreign = 0
        """requests for a stream of others, or for none, that were refused"""

    def asked(self, site: "Site", number: int, caller: SAEId, request: Request) -> None:
        due = self._awake.read(site.place) + self._timeout_ms(request) * 1000 + _SLACK_US
        self._open.setdefault(site.place, {})[number] = _Asked(caller, request, due)

    def batch(self, site: "Site", events: Sequence[Event], effects: Sequence[Effect]) -> None:
        waiting = self._open.get(site.place)
        if waiting:
            # Requests wait in the order of their numbers; the first is the oldest, if not the
            # first due: those behind it are looked at when it is gone.
            number, first = next(iter(waiting.items()))
            self.holds(
                self._awake.read(site.place) <= first.due_us,
                "{} left {} without an answer to {}",
                site.place,
                first.caller,
                number,
            )

    def output(self, site: "Site", effect: Effect) -> None:
        number = cast(Answer, effect).request_id
        self.holds(number not in self._replied, "{} answers request {} twice", site.place, number)
        if len(self._answered) == _ANSWERED_MAX:
            self._replied.discard(self._answered[0])
        self._answered.append(number)
        self._replied.add(number)

    def answered(self, site: "Site", number: int, outcome: "Outcome | None") -> None:
        asked = self._open.get(site.place, {}).pop(number, None)
        self.holds(
            asked is not None, "{} answers request {}, which nobody asked", site.place, number
        )
        if asked is None or outcome is None:
            return
        self.holds(
            self._awake.read(site.place) <= asked.due_us,
            "{} answers {} after its Timeout ({})",
            site.place,
            asked.caller,
            number,
        )
        request, reply = asked.request, outcome.reply
        if isinstance(reply, OpenReply) and reply.status in _OPENED and reply.ksid is not None:
            assert isinstance(request, OpenConnect)
            self._timeouts[reply.ksid] = reply.qos.timeout
            self._pairs.setdefault(reply.ksid, {request.source, request.destination})
        elif isinstance(request, GetKey | Close):
            self._own(site, asked.caller, request.ksid, isinstance(request, GetKey), reply)

    def _own(self, site: "Site", caller: SAEId, ksid: KSID, get: bool, reply: object) -> None:
        if caller in self._pairs.get(ksid, ()):
            return
        done = isinstance(reply, DeliverKey) or (
            isinstance(reply, CloseReply) and reply.status is Status.SUCCESS
        )
        self.foreign += 1
        what = "a key" if get else "the end"
        self.holds(not done, f"{site.place} gives {caller} {what} of stream {ksid} of others")

    def _timeout_ms(self, request: Request) -> int:
        if isinstance(request, GetKey):
            return self._timeouts.get(request.ksid, limits.TIMEOUT_DEFAULT_MS)
        if isinstance(request, EncKeys):
            return limits.KEYS_TIMEOUT_MS
        if not isinstance(request, OpenConnect):
            return 0
        own = request.qos.timeout or limits.TIMEOUT_DEFAULT_MS
        if request.ksid is None:
            return own
        # A store that was put back has forgotten the stream: there the opening's own one counts.
        return max(own, self._timeouts.get(request.ksid, limits.TIMEOUT_MAX_MS))
